"""The metadata service: one node of one cell.

    caller ─► door (app) ─► Admission (core: whose turn) ─► engine ─► store (Redis) ─► job (decode, bundle) ─► answer

A cell is one store and one or more nodes; one cell is the service of 2015.
"""

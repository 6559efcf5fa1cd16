"""The objects that make up a metadata service and its fleet, as plain values: one module for each thing that has some.

They decide what is in an object and nothing about when. Invariant: a manifest carries only the fields that are ours, so
that server-side apply leaves everybody else's alone, and the same input gives the same manifest.
"""

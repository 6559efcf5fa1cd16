"""Sweeps: many simulated runs over a grid of settings and seeds, and what they say together.

    file, --grid ─► points ─► simulate (worker processes) ─► impact ─► store (Parquet) ─► summary ─► report.html

Each stage hands on data. `points` decides what is run, `runner` runs it, `store` keeps it, the rest only reads.
"""

"""Statistics of repeated runs: pure, from numbers to numbers. Intervals, survival, and the search for a boundary."""

"""What a process has made by the time it is ready stays out of the garbage collector's full rounds.

Decides that alone. Imported libraries are 40,000 to 50,000 objects, and a full round over them stops everything for 20
to 30 ms (seen). A round comes whenever a quarter as many new objects have outlived two smaller ones, which under range
reads of many rows is every second or two: each request due meanwhile waits for it.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Call once ready. What is cyclic and given up later on is never found, if it was there before."""
    gc.collect()
    gc.freeze()

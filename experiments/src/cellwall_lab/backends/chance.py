"""Random numbers of simulated servers: a stream is one whole number, and so is a place in it.

Decides numbers only. SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a counter and a mixing function, eight bytes a
server instead of the standard generator's 2,500, and the same dozen operations in any language, which the kernel
repeats. Streams begin at drawn places of one cycle of 2^64; that two of 100,000 meet within 10,000 numbers has a
chance of about 1 in 200,000.
"""

from __future__ import annotations

from random import Random

STRIDE = 0x9E3779B97F4A7C15  # 2^64 / golden ratio
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
WORD = 2**64 - 1
UNIT = 2.0**-53  # a float in [0, 1) takes the upper 53 bits


class Stream:
    """One stream: a `renewal.Chance`."""

    __slots__ = ("_place",)

    def __init__(self, begin: int) -> None:
        self._place = begin

    def random(self) -> float:
        """A number in [0, 1)."""
        self._place = word = (self._place + STRIDE) & WORD
        word = ((word ^ (word >> 30)) * FIRST) & WORD
        word = ((word ^ (word >> 27)) * SECOND) & WORD
        return ((word ^ (word >> 31)) >> 11) * UNIT


def beginnings(seed: int, servers: int) -> list[int]:
    """Where each server's stream begins. Server s's depends on the seed and s alone, not on how many there are."""
    draw = Random(f"{seed}/agents")
    return [draw.getrandbits(64) for _ in range(servers)]

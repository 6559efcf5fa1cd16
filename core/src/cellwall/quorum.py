"""Reads and writes over three replicas: how many must agree, and which value counts.

Decides from the replicas' answers; never sends anything. Invariant I6: an acknowledged write is on
at least two of three replicas, and a consistent read hears at least two, so they share one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

REPLICAS = 3
QUORUM = 2  # of REPLICAS, for writes and consistent reads

Op = Literal["put", "get", "get-eventual", "delete"]


class Version(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A hybrid clock reading: milliseconds, a counter within them, and the front end that wrote (tie-break)."""

    ms: int
    count: int
    writer: str


def tick(last: Version, now_ms: int, writer: str) -> Version:
    """The next version: never lower than any seen, whatever the wall clock does."""
    if now_ms > last.ms:
        return Version(now_ms, 0, writer)
    return Version(last.ms, last.count + 1, writer)


def needed(op: Op) -> int:
    """Answers needed before the operation is done: one for an eventually consistent read, else two."""
    return 1 if op == "get-eventual" else QUORUM


def outcome(op: Op, done: int, refused: int, unknown: int) -> Literal["done", "refused", "unknown", "open"]:
    """The operation's outcome so far. A write that some replica may hold, but not two, is unknown.

    ``done + refused + unknown <= REPLICAS``; "open" means that answers still due can change it.
    """
    if done >= needed(op):
        return "done"
    if done + (REPLICAS - done - refused - unknown) >= needed(op):
        return "open"
    if op in ("put", "delete"):
        if done or unknown:
            return "unknown"
        if refused < REPLICAS:
            return "open"  # the last replica may hold it yet
    return "refused"


def available(op: Op, replicas_up: int) -> bool:
    """Whether an operation can be done with this many of its replicas in service."""
    return replicas_up >= needed(op)

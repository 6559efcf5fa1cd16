"""Whether every acknowledged write survived: each key is a register, each write has a number of its own.

Decides from customers' requests and the audit after the run; never asks a replica. Upholds I6: no
acknowledged write is lost or goes backwards. An unknown write may appear at any later time or never; a
refused one must not appear. Eventually consistent reads may be old, but must not invent.

The rule for a consistent read that found a write x: no acknowledged write w that began after x had ended
may have been established before the read began. w is established once it is acknowledged, or once a
consistent read has returned it. A number that no write on record carries, or a key never read again,
makes the answer unknown. Sound, not complete: of overlapping writes either may be found. Limit: a read
of nothing counts as the latest delete that may have caused it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

import msgspec

from .history import Audit, Request

Key = tuple[str, str, str]  # customer, table, key


class Put(msgspec.Struct, frozen=True):
    """A write or delete: sent, answered (infinite if that is unknown), acknowledged, possibly carried out."""

    sent_s: float
    ended_s: float
    acknowledged: bool
    possible: bool


class Read(msgspec.Struct, frozen=True):
    """A consistent or (``eventual``) any read that found ``value``; 0 is nothing."""

    sent_s: float
    ended_s: float
    value: int
    eventual: bool = False
    audit: bool = False


class Register(msgspec.Struct, frozen=True):
    """One key's history. ``puts`` by number; deletes carry none."""

    puts: dict[int, Put]
    deletes: list[Put]
    reads: list[Read]


class Findings(msgspec.Struct, frozen=True):
    """``broken`` and ``unknown`` are one line each; ``acknowledged`` counts writes, ``reads`` those weighed."""

    keys: int
    acknowledged: int
    reads: int
    audits: int
    broken: list[str]
    unknown: list[str]


def check(requests: Iterable[Request], audits: Iterable[Audit]) -> Findings:
    """Check every key that was written."""
    registers: dict[Key, Register] = {}
    unknown: list[str] = []
    broken: list[str] = []
    for r in requests:
        if r.key:
            _add(registers.setdefault((r.customer, r.table, r.key), Register({}, [], [])), r, unknown)
    audited: set[Key] = set()
    asked = 0
    for a in audits:
        asked += 1
        key = (a.customer, a.table, a.key)
        if a.outcome != "done":
            unknown.append(f"{_name(key)}: the audit could not read it ({a.outcome})")
            continue
        register = registers.get(key)
        known = register and register.puts.get(a.acknowledged)
        if register is None or (a.acknowledged and not (known and known.acknowledged)):
            unknown.append(f"{_name(key)}: write {a.acknowledged} was acknowledged but is not on record")
            continue
        audited.add(key)
        register.reads.append(Read(a.t, math.inf, a.found, audit=True))
    acknowledged = reads = 0
    for key, register in sorted(registers.items()):
        count = sum(p.acknowledged for p in register.puts.values())
        acknowledged += count
        reads += len(register.reads)
        if count and key not in audited:
            unknown.append(f"{_name(key)}: acknowledged writes, but no audit read it")
        bad, unclear = judge_register(register)
        broken += [f"{_name(key)}: {text}" for text in bad]
        unknown += [f"{_name(key)}: {text}" for text in unclear]
    return Findings(len(registers), acknowledged, reads, asked, broken, unknown)


def _add(register: Register, r: Request, unknown: list[str]) -> None:
    sent_s, ended_s = r.t + r.late_s, r.t + r.latency_s
    if r.op in ("put", "delete"):
        done, possible = r.outcome == "done", r.outcome != "refused"
        put = Put(sent_s, ended_s if r.outcome != "unknown" else math.inf, done, possible)
        if r.op == "delete":
            register.deletes.append(put)
        elif r.value in register.puts:
            unknown.append(f"{_name((r.customer, r.table, r.key))}: write {r.value} is on record twice")
        else:
            register.puts[r.value] = put
    elif r.outcome == "done":
        register.reads.append(Read(sent_s, ended_s, r.value, eventual=r.op == "get-eventual"))


def _name(key: Key) -> str:
    return "/".join(key)


def judge_register(register: Register) -> tuple[list[str], list[str]]:
    """What is wrong with one key's reads, and what cannot be told."""
    overtaken = _Overtaken(register)
    broken: list[str] = []
    unknown: list[str] = []
    for read in register.reads:
        source = found(register, read)
        if source is None:
            unknown.append(f"read {read.value}, which no write on record carries")
        elif not source.possible:
            broken.append(f"read {read.value}, a write that was refused")
        elif source.sent_s > read.ended_s:
            broken.append(f"read {read.value} before it was sent")
        elif not read.eventual and overtaken.by(read.sent_s) > source.ended_s:
            what = f"write {read.value}" if read.value else "nothing"
            broken.append(
                f"{'the audit' if read.audit else 'a read'} found {what} although a later write was established"
            )
    return broken, unknown


_NEVER_WRITTEN = Put(-math.inf, -math.inf, True, True)


def found(register: Register, read: Read) -> Put | None:
    """The write a read found, in the read's favour where several could be; None if it is not on record."""
    if read.value:
        return register.puts.get(read.value)
    deletes = [d for d in register.deletes if d.possible and d.sent_s <= read.ended_s]
    return max(deletes, key=lambda d: d.ended_s, default=_NEVER_WRITTEN)


def established(register: Register) -> list[tuple[float, float]]:
    """(established, sent) of every acknowledged write and delete."""
    seen: dict[int, float] = {}
    for read in register.reads:
        if not read.eventual and read.value:
            seen[read.value] = min(read.ended_s, seen.get(read.value, math.inf))
    writes = [
        (min(p.ended_s, seen.get(number, math.inf)), p.sent_s) for number, p in register.puts.items() if p.acknowledged
    ]
    return writes + [(d.ended_s, d.sent_s) for d in register.deletes if d.acknowledged]


class _Overtaken:
    """The latest sending time of the writes established before an instant, in O(log n)."""

    def __init__(self, register: Register) -> None:
        order = sorted(established(register))
        self._at: Sequence[float] = [at_s for at_s, _ in order]
        self._latest: Sequence[float] = list(accumulate((sent_s for _, sent_s in order), max))

    def by(self, t: float) -> float:
        i = bisect_left(self._at, t)
        return self._latest[i - 1] if i else -math.inf

"""One arm's history, sorted by kind and time, and the instants that divide it.

Decides when the clean window, the trigger, the stuck window, the pause and the end were, from the
history's own marks. Never judges, and never guesses an instant whose mark is missing: it is None, and
what depends on it is unknown (rule 4 of honesty). Invariant I5: a figure comes from records only.

    clean ──► cut on ──► cut off = t0 ──► … stuck end ≤ pause ──► resume ──► … end
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

import msgspec

from .errors import Refused
from .history import (
    TRIGGERS,
    Audit,
    Availability,
    CpuLimit,
    Fault,
    HostSample,
    NodeSample,
    Phase,
    ProcessSample,
    Record,
    Renewal,
    Request,
    Step,
    World,
)
from .spec import WorldSpec

# Witnesses of one instant are written within milliseconds of each other, on a busy machine later (guess).
WITNESS_S = 1.0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one arm, each kind sorted by time. ``world`` and ``spec`` are None if the history has none."""

    world: World | None
    spec: WorldSpec | None
    phases: list[Phase]
    faults: list[Fault]
    renewals: list[Renewal]
    availability: list[Availability]
    requests: list[Request]
    nodes: list[NodeSample]
    limits: list[CpuLimit]
    processes: list[ProcessSample]
    hosts: list[HostSample]
    steps: list[Step]
    audits: list[Audit]

    @property
    def renew_every_s(self) -> float:
        return self.spec.renewal.renew_every_s if self.spec else 0.0

    @property
    def time_limit_s(self) -> float:
        return self.spec.renewal.time_limit_s if self.spec else 0.0


class Timed(Protocol):
    @property
    def t(self) -> float: ...


K = TypeVar("K", bound=Timed)


def _time(item: Timed) -> float:
    return item.t


def read(records: Iterable[Record]) -> Run:
    """Sort one arm's records. A history of two arms, or a spec that is not one, is refused."""
    # One list per kind; keyed by type because ten isinstance tests per record cost seconds on 150k records.
    kinds: dict[type, list[Record]] = {}
    for record in records:
        kinds.setdefault(type(record), []).append(record)

    def of(kind: type[K]) -> list[K]:
        return sorted(kinds.get(kind, []), key=_time)  # type: ignore[arg-type]

    worlds = of(World)
    if len({(w.arm, w.seed) for w in worlds}) > 1:
        raise Refused(f"history: holds {len(worlds)} worlds; it must be one arm's")
    world = worlds[0] if worlds else None
    return Run(
        world=world,
        spec=_spec(world) if world else None,
        phases=of(Phase),
        faults=of(Fault),
        renewals=of(Renewal),
        availability=of(Availability),
        requests=of(Request),
        nodes=of(NodeSample),
        limits=of(CpuLimit),
        processes=of(ProcessSample),
        hosts=of(HostSample),
        steps=of(Step),
        audits=of(Audit),
    )


def _spec(world: World) -> WorldSpec:
    try:
        return msgspec.convert(world.spec, WorldSpec)
    except msgspec.ValidationError as error:
        raise Refused(f"history: the world's spec is not valid: {error}") from None


def between(items: Sequence[K], from_s: float, to_s: float) -> Sequence[K]:
    """Those of a list sorted by time with from <= t < to."""
    return items[bisect_left(items, from_s, key=_time) : bisect_left(items, to_s, key=_time)]


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """Unix seconds, or None where the history has no mark.

    A cut stands for any trigger. ``t0_s`` is its removal as its receipt says: the last cut's "off", and only if every
    cut is off. ``stuck_end_s``: the pause or the end of the phase "stuck", whichever came first.
    ``capacity_s``: the first work on capacity after the pause. ``targets``: the servers cut.
    ``contradicted``: instants (by name) whose witnesses lie more than WITNESS_S apart. The first is named all the
    same, but a window that begins or ends there shows nothing: it would move with the loss of a witness.
    """

    start_s: float | None
    clean_s: float | None
    cut_on_s: float | None
    t0_s: float | None
    stuck_s: float | None
    stuck_end_s: float | None
    pause_s: float | None
    capacity_s: float | None
    resume_s: float | None
    end_s: float | None
    targets: frozenset[str]
    contradicted: frozenset[str]


def moments(run: Run) -> Moments:
    """The instants of one arm."""
    cuts = [f for f in run.faults if f.fault in TRIGGERS]
    ons = {f.id: f.t for f in reversed(cuts) if f.state == "on"}
    offs = {f.id: f.t for f in reversed(cuts) if f.state == "off"}
    phase = {p.name: p.t for p in reversed(run.phases)}  # the first of each name
    # Three witnesses for the pause and the resume: losing one kind of record must not move a window.
    pause = [
        _first(f.t for f in run.faults if f.fault == "pause" and f.state == "on"),
        _first(s.t for s in run.steps if s.step == "pause" and s.outcome == "done" and not s.skipped),
        _first(p.t for p in run.phases if p.name == "paused"),
    ]
    resume: list[float | None] = []
    pause_s, capacity_s = _first(pause), None
    if pause_s is not None:
        resume = [
            _first((f.t for f in run.faults if f.fault == "pause" and f.state == "off"), pause_s),
            _first(
                (s.t for s in run.steps if s.step == "resume" and s.outcome == "done" and not s.skipped),
                pause_s,
            ),
            _first((p.t for p in run.phases if p.name == "re-entry"), pause_s),
        ]
        capacity_s = _first(
            [s.t for s in run.steps if s.step == "add-capacity" and not s.skipped]
            + [p.t for p in run.phases if p.name == "capacity"],
            after_s=pause_s,
        )
    return Moments(
        start_s=phase.get("start"),
        clean_s=phase.get("clean"),
        cut_on_s=min(ons.values()) if ons else None,
        t0_s=max(offs.values()) if ons and ons.keys() == offs.keys() else None,
        stuck_s=phase.get("stuck"),
        stuck_end_s=_first([pause_s, _phase_end(run.phases, "stuck")]),
        pause_s=pause_s,
        capacity_s=capacity_s,
        resume_s=_first(resume),
        end_s=phase.get("end"),
        targets=frozenset(server for f in cuts for server in f.targets),
        contradicted=frozenset(
            name for name, witnesses in (("pause_s", pause), ("resume_s", resume)) if _apart_s(witnesses) > WITNESS_S
        ),
    )


def fault_spans(run: Run) -> list[tuple[Fault, float, float | None]]:
    """Each fault's "on" record with the times it went on and off (None: never)."""
    offs = {f.id: f.t for f in run.faults if f.state == "off"}
    return [(f, f.t, offs.get(f.id)) for f in run.faults if f.state == "on"]


def phase_spans(run: Run) -> list[tuple[str, float, float | None]]:
    """Each phase with its start and end (None: the last one has no end)."""
    ends: list[float | None] = [p.t for p in run.phases[1:]]
    return [(p.name, p.t, end) for p, end in zip(run.phases, [*ends, None], strict=False)]


def _phase_end(phases: Sequence[Phase], name: str) -> float | None:
    for here, following in pairwise(phases):
        if here.name == name and following.name != name:
            return following.t
    return None


def _first(times: Iterable[float | None], after_s: float | None = None) -> float | None:
    return min((t for t in times if t is not None and (after_s is None or t >= after_s)), default=None)


def _apart_s(witnesses: Iterable[float | None]) -> float:
    seen = [t for t in witnesses if t is not None]
    return max(seen) - min(seen) if seen else 0.0

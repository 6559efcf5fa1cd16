"""What an experiment file claims: which claims exist, with which bounds, about which arms.

Decides whether the file's `claims` are well formed; never judges. An unknown id, arm or parameter is
refused in one line, because a claim that is silently not judged is the same as one that is always held.

Every default is the issue's ("What must be shown") unless it says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..errors import Refused
from ..verdict import Bound


class Kind(msgspec.Struct, frozen=True):
    """A claim that exists: its sentence, the unit of its value, and its parameters with their defaults."""

    text: str
    unit: str
    params: dict[str, float] = {}
    cross: bool = False  # judged over several arms


KINDS: dict[str, Kind] = {
    "clean": Kind(
        "The run is valid: quiet before the trigger, not robbed of CPU, the host as fast as calibrated, load generated "
        "in time, history complete",
        "share of T",
        {"max": 0.7, "steal_max": 0.20, "starved_max": 0.10, "faster_max": 0.30, "late_max_s": 0.020},
    ),
    "healthy-before": Kind("Healthy before the trigger", "share of requests", {"max": 0.005}),
    "trigger-bit": Kind("The trigger bit: every target was cut and refused packets", "refused packets", {"min": 1}),
    "no-fault-active": Kind("No fault is active after the trigger is gone", "faults", {"max": 0}),
    "dragged-in": Kind("Servers the trigger never touched left service", "servers", {"min": 1}),
    "relapsed": Kind("Servers that had come back left service again", "servers", {"min": 1}),
    "servers-out": Kind(
        "Servers out settle between the bounds and stay",
        "share of servers",
        {"min": 0.45, "max": 0.65, "from_periods": 2, "for_s": 30, "window_s": 5},
    ),
    "requests-failed": Kind(
        "Customers' failed requests settle between the bounds and stay",
        "share of requests",
        {"min": 0.45, "max": 0.65, "from_periods": 2, "for_s": 30, "window_s": 5},
    ),
    # load_tolerance: our own rule (guess), that the outage is not kept up by more load.
    "stuck": Kind(
        "Still out at the end of the stuck window, with no fault active and the load unchanged",
        "share of servers",
        {"min": 0.30, "load_tolerance": 0.05},
    ),
    # Issue 6, point 4. relaxation_s: the longest self-heal seen below the boundary (research 07: within 10 s).
    "metastable": Kind(
        "Metastable: trigger gone, load as before, goodput low for many relaxation times, backlog not falling",
        "share of clean goodput",
        {
            "max": 0.70,
            "load_tolerance": 0.05,
            "from_periods": 2,
            "window_s": 5,
            "relaxation_s": 10,
            "relaxations": 20,
            "relaxations_real": 5,
            "backlog_fall_max": 0.10,
        },
    ),
    "capacity-locked-out": Kind(
        "Attempts to add capacity fail by time-out; the same request succeeded before", "attempts", {"min": 3}
    ),
    "paused": Kind("The pause works at once", "s", {"max": 2}),
    "load-relieved": Kind(
        "The pause relieves the metadata service", "share of CPU limit", {"max": 0.30, "within_limits": 2}
    ),
    "cure-hurts": Kind("The pause disables customers' traffic", "share of requests", {"min": 0.90, "last_s": 5}),
    "capacity-added": Kind("Capacity is added", "steps", {"min": 1}),
    "recovered": Kind("Recovered: no errors, nobody out", "share of requests", {"max": 0.005, "last_periods": 2}),
    "no-write-lost": Kind("No acknowledged write is lost or goes backwards", "violations", {"max": 0}),
    "healed": Kind("Heals by itself, with no help", "share of servers", {"max": 0.005, "last_periods": 2}),
    # customer_error: a customer is affected above it (guess: above the errors of any healthy run).
    "contained": Kind(
        "Only the struck cells' customers and servers suffer", "× struck share", {"max": 1.1, "customer_error": 0.01}
    ),
    "contained-throughout": Kind(
        "While the failure lasts and after it, only the struck cell's customers and servers suffer",
        "× struck share",
        {"max": 1.1, "customer_error": 0.01},
    ),
    "uncontained": Kind(
        "Containment is broken: customers or servers of other cells suffer too",
        "× struck share",
        {"min": 1.1, "customer_error": 0.01},
    ),
    # 0.10: nobody would call less a failure of a cell (guess).
    "bit": Kind("The failure bit: struck servers left service", "share of struck servers", {"min": 0.10}),
    "wrong-epochs-refused": Kind(
        "Servers refuse memberships whose epoch is wrong, every one", "memberships", {"min": 1}
    ),
    "unnoticed": Kind("Customers do not notice", "share of requests", {"max": 0.005}),
    # 0.30: the same mark as "stuck" (guess).
    "spread-hits-all": Kind("Every cell suffers", "share of servers", {"min": 0.30, "from_periods": 2, "for_s": 30}),
    "same-trigger": Kind("The same servers were cut in every arm", "arms", cross=True),
}


class ClaimSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One claim of an experiment file, complete. ``backends`` empty means all of them."""

    id: str
    arms: tuple[str, ...]
    text: str
    params: dict[str, float]
    backends: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> float:
        return self.params[name]

    @property
    def unit(self) -> str:
        return KINDS[self.id].unit

    @property
    def bound(self) -> Bound:
        return Bound(min=self.params.get("min"), max=self.params.get("max"))


def default(claim: str, arms: Sequence[str]) -> ClaimSpec:
    """A claim with the issue's bounds."""
    kind = KINDS[claim]
    return ClaimSpec(id=claim, arms=tuple(arms), text=kind.text, params=dict(kind.params))


def claims(raw: object, arms: Sequence[str]) -> list[ClaimSpec]:
    """The `claims` list of an experiment file, checked against its arms. Every fault is one line."""
    if not isinstance(raw, list):
        raise Refused(f"claims: {raw!r} is not allowed; it must be a list")
    found = [_claim(f"claims[{i}]", entry, arms) for i, entry in enumerate(raw)]
    seen: set[tuple[str, str]] = set()
    for i, spec in enumerate(found):
        for arm in spec.arms:
            if (spec.id, arm) in seen:
                raise Refused(f"claims[{i}]: {spec.id} is claimed twice for arm {arm!r}; once is right")
            seen.add((spec.id, arm))
    return found


def _claim(where: str, entry: object, arms: Sequence[str]) -> ClaimSpec:
    if not isinstance(entry, Mapping):
        raise Refused(f"{where}: {entry!r} is not allowed; it must be a mapping with an id")
    fields: dict[Any, Any] = dict(entry)
    claim = fields.pop("id", None)
    if not isinstance(claim, str) or claim not in KINDS:
        raise Refused(f"{where}.id: {claim!r} is not a claim; it must be one of {', '.join(KINDS)}")
    kind = KINDS[claim]
    named = _names(f"{where}.arms", fields.pop("arms", list(arms)))
    for arm in named:
        if arm not in arms:
            raise Refused(f"{where}.arms: {arm!r} is not an arm; it must be one of {', '.join(arms)}")
    if kind.cross and len(named) < 2:
        raise Refused(f"{where}.arms: {claim} compares arms; it must name at least two")
    backends = _names(f"{where}.backends", fields.pop("backends", []), empty=True)
    text = fields.pop("text", kind.text)
    if not isinstance(text, str):
        raise Refused(f"{where}.text: {text!r} is not allowed; it must be text")
    params = dict(kind.params)
    for name, value in fields.items():
        if name not in params:
            takes = ", ".join(["arms", "text", "backends", *params])
            raise Refused(f"{where}.{name}: {claim} has no such parameter; it takes {takes}")
        # A bool is an int in Python; `max: yes` in YAML is a mistake, not 1.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise Refused(f"{where}.{name}: {value!r} is not allowed; it must be a number >= 0")
        params[name] = float(value)
    for name in ("for_s", "window_s", "last_s", "last_periods", "relaxation_s", "relaxations", "relaxations_real"):
        if params.get(name) == 0:
            raise Refused(f"{where}.{name}: 0 is not allowed; it must be > 0, or the window is empty")
    if params.get("min", -math.inf) > params.get("max", math.inf):
        raise Refused(f"{where}.min: {params['min']:g} is not allowed; it must be <= max = {params['max']:g}")
    if params.get("window_s", 0) > params.get("for_s", math.inf):
        raise Refused(f"{where}.window_s: {params['window_s']:g} is not allowed; it must be <= for_s")
    return ClaimSpec(id=claim, arms=tuple(named), text=text, params=params, backends=tuple(backends))


def _names(where: str, value: object, *, empty: bool = False) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
        raise Refused(f"{where}: {value!r} is not allowed; it must be a list of names")
    if not value and not empty:
        raise Refused(f"{where}: it is empty; it must name at least one")
    return list(dict.fromkeys(value))

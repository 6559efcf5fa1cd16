"""verdict.json: its typed form, and how outcomes of claims become one.

Decides the merging and the exit status; never weighs evidence (that is `judge`). Invariant I11: nothing
is held by default: an empty list is unknown, and a void run is unknown, never held and never broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from .errors import Refused

Outcome = Literal["held", "broken", "unknown"]

SCHEMA = 1
VALIDITY = ("clean", "trigger-bit")  # a run for which one of these is unknown is void

_STATUS: dict[Outcome, int] = {"held": 0, "broken": 1, "unknown": 2}


class Bound(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the value had to be: at least ``min``, at most ``max``."""

    min: float | None = None
    max: float | None = None

    def text(self) -> str:
        if self.min is not None and self.max is not None:
            return f"{self.min:g} to {self.max:g}"
        if self.min is not None:
            return f"at least {self.min:g}"
        return f"at most {self.max:g}" if self.max is not None else ""


class ClaimVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One claim about one arm. ``value`` is None where nothing could be measured; ``evidence`` is one or
    two sentences with numbers and window times (seconds after the trigger's removal where there is one)."""

    id: str
    text: str
    outcome: Outcome
    value: float | None
    unit: str
    bound: Bound
    evidence: str


class ArmVerdict(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    outcome: Outcome
    claims: list[ClaimVerdict]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run folder's verdict. ``versions`` and ``calibration`` are those of its worlds."""

    schema: int = SCHEMA
    experiment: str
    backend: str
    seed: int
    outcome: Outcome
    versions: dict[str, str]
    calibration: dict[str, float]
    arms: list[ArmVerdict]


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """Broken beats unknown beats held; nothing at all is unknown."""
    seen = set(outcomes)
    if "broken" in seen:
        return "broken"
    return "unknown" if "unknown" in seen or not seen else "held"


def arm_outcome(claims: Sequence[ClaimVerdict]) -> Outcome:
    """An arm's outcome: merged, unless the run is void, whatever else it seems to show."""
    if any(c.id in VALIDITY and c.outcome == "unknown" for c in claims):
        return "unknown"
    return merge(c.outcome for c in claims)


def opening(experiment: str, backend: str, seed: int, arms: Iterable[str]) -> Verdict:
    """The verdict written before anything has run: unknown, so that a killed run never looks held."""
    return Verdict(
        experiment=experiment,
        backend=backend,
        seed=seed,
        outcome="unknown",
        versions={},
        calibration={},
        arms=[ArmVerdict(name=name, outcome="unknown", claims=[]) for name in arms],
    )


def conclude(
    start: Verdict, arms: Sequence[ArmVerdict], versions: dict[str, str], calibration: dict[str, float]
) -> Verdict:
    """The final verdict. An arm that was promised at the start and has not been judged stays unknown."""
    judged = {a.name: a for a in arms}
    promised = [judged.pop(a.name, a) for a in start.arms]
    every = [*promised, *judged.values()]
    return msgspec.structs.replace(
        start, outcome=merge(a.outcome for a in every), versions=versions, calibration=calibration, arms=every
    )


def exit_status(outcome: Outcome) -> int:
    """0 all claims held, 1 some broken, 2 unknown (3, usage, is the command line's own)."""
    return _STATUS[outcome]


def encode(verdict: Verdict) -> bytes:
    """The file's bytes: indented, the same for the same verdict."""
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"


def decode(data: bytes) -> Verdict:
    """Read a verdict.json; one of another schema, or not one at all, is refused."""
    try:
        verdict = msgspec.json.decode(data, type=Verdict)
    except msgspec.DecodeError as error:
        raise Refused(f"verdict.json: not a verdict ({error})") from None
    if verdict.schema != SCHEMA:
        raise Refused(f"verdict.json: schema {verdict.schema} is not known; it must be {SCHEMA}")
    return verdict

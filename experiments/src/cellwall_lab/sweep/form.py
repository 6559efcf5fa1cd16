"""Where a sweep's grids come from: an experiment file's part `cellwall-sweep`, or the command line's words.

Decides how `--grid`, `--seeds`, `--boundary` and `--budget` are read, and the form of the file's part. Every refusal
is one line: place, value, what would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from cellwall.errors import Refused

from .. import experiment as experiments
from .. import settings
from .points import Grid, expand

PART = "cellwall-sweep"
WATCH_S = 70.0  # 2R + 30 s of the reference set: the window in which the plateau is judged
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class GridPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A named grid. ``base`` is laid over the sweep's."""

    question: str = ""
    base: dict[str, Any] = {}
    axes: dict[str, list[Any]]
    watch_s: float | None = None


class SweepPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Our part of an experiment file for `cellwall sweep`. ``base`` is laid over the experiment's."""

    name: Literal["cellwall-sweep"]
    schema: Literal[1]
    base: dict[str, Any] = {}
    watch_s: float = WATCH_S
    grids: dict[str, GridPart]


class Asked(msgspec.Struct, frozen=True):
    """What is to be swept."""

    experiment: str
    grids: list[Grid]


def asked(
    file: str, grid: Sequence[str], only: Sequence[str], overrides: Sequence[str], watch_s: float | None
) -> Asked:
    """The file's grids (those named by ``only``), or the one that the command line makes over the file's base."""
    found = experiments.load(file)
    part = part_of(found.document)
    base = settings.flatten(found.extension.base)
    base |= settings.flatten(part.base) if part else {}
    over = settings.parse(overrides)
    for path, value in over.items():
        settings.check_path(path, value)
    if grid:
        if only:
            raise Refused("--only: not allowed with --grid, which makes a grid of its own")
        default_s = part.watch_s if part else WATCH_S
        made = expand("grid", "", axes(grid), base | over, default_s if watch_s is None else watch_s)
        return Asked(found.name, [made])
    if part is None or not part.grids:
        raise Refused(f"{found.name}: it has no grids; name one, as in --grid cells=1,2,4 --grid share=0.1,0.25")
    for name in only:
        if name not in part.grids:
            raise Refused(f"--only: {name!r} is not a grid; {found.name} has {', '.join(part.grids)}")
    grids = []
    for name, one in part.grids.items():
        if not only or name in only:
            default_s = part.watch_s if one.watch_s is None else one.watch_s
            layered = base | settings.flatten(one.base) | over
            grids.append(expand(name, one.question, one.axes, layered, default_s if watch_s is None else watch_s))
    return Asked(found.name, grids)


def part_of(document: Mapping[str, Any]) -> SweepPart | None:
    """The file's part for sweeps, typed; None if it has none."""
    parts = [e for e in document.get("extensions", []) if isinstance(e, dict) and e.get("name") == PART]
    if not parts:
        return None
    try:
        return msgspec.convert(parts[0], SweepPart)
    except msgspec.ValidationError as error:
        raise Refused(f"extensions.{PART}: {error}") from None


def axes(words: Sequence[str]) -> dict[str, list[Any]]:
    """`["cells=1,2", "trigger=cell,spread"]` to axes."""
    found: dict[str, list[Any]] = {}
    for text in words:
        path, equals, values = text.partition("=")
        parts = [part for part in values.split(",") if part.strip()]
        if not equals or not path.strip() or not parts:
            raise Refused(f"--grid: {text!r} is not allowed; it must be key=value,value, as in cells=1,2,4")
        found[path.strip()] = [settings.parse([f"{path.strip()}={part}"])[path.strip()] for part in parts]
    return found


def seeds(text: str) -> list[int]:
    """`1-20`, `3` or `1,2,7-9`."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise Refused(f"--seeds: {text!r} is not allowed; it must be like 1-20, or 1,2,5")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return sorted(set(found))


def duration_s(text: str, option: str = "--budget") -> float:
    """`90`, `45s`, `30m`, `2h` in seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if match is None or float(match[1]) == 0:
        raise Refused(f"{option}: {text!r} is not allowed; it must be like 45s, 30m or 2h")
    return float(match[1]) * _UNITS_S[match[2]]


def span(text: str, option: str = "--boundary") -> tuple[str, float, float]:
    """`share=0.02:0.5` to a path and two numbers."""
    path, _, rest = text.partition("=")
    low, colon, high = rest.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = (math.nan, math.nan)
    if not path.strip() or not colon or not ends[0] < ends[1] or not all(map(math.isfinite, ends)):
        raise Refused(f"{option}: {text!r} is not allowed; it must be key=low:high, as in share=0.02:0.5")
    return path.strip(), *ends


def folder(experiment: str, out: Path | None, stamp: str) -> Path:
    from ..runfolder import RUNS

    return (out or RUNS / f"{stamp}-sweep-{experiment}").absolute()

"""A sweep's folder: `sweep.json` (what was asked, made with what), `parts/*.parquet` (one row a run), `report.html`.

Decides names, and when two sittings may share a folder; computes nothing. Invariant: a part is complete or not there
(written aside, synced, renamed), so a kill loses only the runs that were not finished. A part that cannot be read is
left out and said; its runs are run again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cellwall.capacity import TYPICAL, Costs
from cellwall.errors import Refused

from ..made import Made
from ..runfolder import write_whole
from .points import Grid

MANIFEST, PARTS = "sweep.json", "parts"
Row = dict[str, Any]


class GridMade(msgspec.Struct, frozen=True):
    """A grid, without its worlds: each place's axis labels and point."""

    name: str
    question: str
    axes: list[str]
    places: list[tuple[dict[str, str], str]]

    @classmethod
    def of(cls, grid: Grid) -> GridMade:
        return cls(grid.name, grid.question, grid.axes, [(place.labels, place.point.id) for place in grid.places])


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``columns``: the settings that vary, each a column of the rows. ``mark``: why the figures may not be those of
    this machine and version, or nothing."""

    schema: int = 1
    experiment: str
    command: str
    made: Made
    costs: Costs
    mark: str = ""
    seeds: list[int]
    columns: list[str]
    grids: list[GridMade]


class Calibration(msgspec.Struct, frozen=True):
    """Costs to simulate with; ``mark`` says what is doubtful about them."""

    costs: Costs
    mark: str = ""


class _CalibrationFile(msgspec.Struct, frozen=True):
    """What `calibration.json` says that matters here."""

    c_record_s: float
    c_request_s: float
    made: Made = Made("", "")


def calibration(path: Path | None) -> Calibration:
    """The typical costs, or those that a run left behind."""
    if path is None:
        return Calibration(TYPICAL)
    file = path / "calibration.json" if path.is_dir() else path
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_CalibrationFile)
    except OSError as error:
        raise Refused(f"--calibration: {file} cannot be read ({error.strerror}); it must be an arm's folder") from None
    except msgspec.DecodeError as error:
        raise Refused(f"--calibration: {file} is not a calibration ({error})") from None
    if found.c_record_s <= 0 or found.c_request_s <= 0:
        raise Refused(f"--calibration: {file}: costs must be > 0")
    here, doubts = Made.here(), []
    if found.made.machine != here.machine:
        doubts.append(f"calibrated on {found.made.machine or 'a machine that it does not name'}")
    if found.made.version != here.version:
        doubts.append(f"by version {found.made.version or 'unknown'}, this is {here.version}")
    return Calibration(Costs(found.c_record_s, found.c_request_s), ", ".join(doubts))


class Store:
    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, manifest: Manifest) -> Manifest:
        """Whether its runs may go into this folder, which need not be there: refused if those that it holds were made
        with other costs; marked if by another machine or version. Writes nothing."""
        if not (self.path / MANIFEST).exists():
            return manifest
        old = self.manifest()
        if old.costs != manifest.costs:
            raise Refused(
                f"--out: {self.path} holds runs with other costs ({old.costs}); choose a new folder, or the same "
                "--calibration"
            )
        if old.made != manifest.made:
            text = f"begun by version {old.made.version} on {old.made.machine}"
            manifest = msgspec.structs.replace(manifest, mark=", ".join(filter(None, (old.mark, text))))
        return manifest

    def open(self, manifest: Manifest) -> None:
        """Make the folder, or go on in it."""
        try:
            (self.path / PARTS).mkdir(parents=True, exist_ok=True)
            for left in (self.path / PARTS).glob(".*"):
                left.unlink()  # half a part of a sitting that was killed
        except OSError as error:
            raise Refused(f"--out: {self.path}: {error.strerror}; it must be a folder that can be written") from None
        self.write(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")

    def manifest(self) -> Manifest:
        try:
            return msgspec.json.decode((self.path / MANIFEST).read_bytes(), type=Manifest)
        except OSError as error:
            raise Refused(
                f"sweep: {self.path / MANIFEST} cannot be read ({error.strerror}); it must be a folder that "
                "`cellwall sweep` made"
            ) from None
        except msgspec.DecodeError as error:
            raise Refused(f"sweep: {self.path / MANIFEST} is not a sweep's description ({error})") from None

    def append(self, rows: Sequence[Row]) -> None:
        if rows:
            name = f"{rows[0]['point']}-{rows[0]['seed']}-{os.getpid()}-{len(list((self.path / PARTS).iterdir()))}"
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(list(rows)), sink)
            self.write(f"{PARTS}/{name}.parquet", sink.getvalue().to_pybytes())

    def read(self) -> tuple[list[Row], list[str]]:
        """All rows, one a run, and what could not be read."""
        rows: dict[tuple[str, int], Row] = {}
        unreadable = []
        for path in sorted((self.path / PARTS).glob("*.parquet")):
            try:
                found = pq.ParquetFile(path).read().to_pylist()
                rows.update({(row["point"], row["seed"]): row for row in found})
            except (OSError, pa.ArrowException, KeyError) as error:
                unreadable.append(f"{path.name}: {' '.join(str(error).split())[:120]}")
        return list(rows.values()), unreadable

    def write(self, name: str, data: bytes) -> None:
        """A file, all of it or nothing."""
        write_whole(self.path / name, data)


def by_point(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """A point's rows, by seed."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        found.setdefault(row["point"], []).append(row)
    return found

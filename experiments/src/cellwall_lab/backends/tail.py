"""Reads the record files of a running world as they grow, and merges them at the end.

Decides nothing about records. A line still being written is left for the next look.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cellwall import history


class Tail:
    """The files of one folder, but for one, each from where it was last read."""

    def __init__(self, folder: Path, skip: str = "") -> None:
        self._folder = folder
        self._skip = skip
        self._offsets: dict[Path, int] = {}

    def new(self) -> Iterator[history.Record]:
        for path in sorted(self._folder.glob("*.ndjson")):
            if path.name == self._skip:
                continue
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            whole = data.rfind(b"\n") + 1
            self._offsets[path] = self._offsets.get(path, 0) + whole
            yield from history.decode(data[:whole].splitlines(keepends=True))


def merge(folder: Path, target: Path) -> int:
    """All records of the folder's files into one, sorted by time; returns how many. Replaced atomically."""
    records = [record for path in sorted(folder.glob("*.ndjson")) for record in _read(path)]
    records.sort(key=lambda record: record.t)
    write(records, target)
    return len(records)


def write(records: list[history.Record], target: Path) -> None:
    # The world record leads whatever its time: it says how to read the rest.
    records = sorted(records, key=lambda record: not isinstance(record, history.World))
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.writelines(map(history.encode, records))
    part.replace(target)


def _read(path: Path) -> Iterator[history.Record]:
    with path.open("rb") as file:
        yield from history.decode(file)

"""The world server's own history records, appended as they come: few, and needed by the next verb's reader."""

from __future__ import annotations

from pathlib import Path

from cellwall import history

WORLD_FILE = "world.ndjson"


class Recorder:
    def __init__(self, folder: Path, name: str = WORLD_FILE) -> None:
        self._file = (folder / name).open("ab", buffering=0)

    def add(self, record: history.Record) -> None:
        self._file.write(history.encode(record))

    def close(self) -> None:
        self._file.close()

"""This front end's versions: never one twice, never a lower one after a higher, also over restarts.

Decides the next version from the wall clock and every version seen. A bound is kept on disk that is
always ahead of what was given out, so a clock set back across a restart cannot make an acknowledged
write lose against an older one (invariant I6 would hold on the replicas, and the write be gone).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cellwall.errors import Refused, Unavailable
from cellwall.quorum import Version, tick

AHEAD_MS = 10_000  # guess: one small file write every ten seconds


class Clock:
    """Hands out versions. ``path`` keeps the bound; ``writer`` is the front end's name."""

    def __init__(
        self, path: Path, writer: str, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._path = path
        self._writer = writer
        self._now_ms = now_ms
        self._bound_ms = _read(path)
        self._last = Version(self._bound_ms, 0, writer)

    def next(self) -> Version:
        """A version higher than all before. `Unavailable` if its bound cannot be kept (a full disk)."""
        self._last = tick(self._last, self._now_ms(), self._writer)
        if self._last.ms >= self._bound_ms:
            bound_ms = self._last.ms + AHEAD_MS
            _write(self._path, bound_ms)
            self._bound_ms = bound_ms
        return self._last

    def observe(self, seen: Version | None) -> None:
        """A version that a replica holds: the next one must be higher."""
        if seen is not None and seen > self._last:
            self._last = Version(seen.ms, seen.count, self._writer)


def _read(path: Path) -> int:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return 0
    if not text.strip().isdigit():
        raise Refused(f"{path}: {text[:40]!r} is not a number of milliseconds; remove it only if the data is gone too")
    return int(text)


def _write(path: Path, bound_ms: int) -> None:
    part = path.with_suffix(".part")
    try:
        part.write_text(f"{bound_ms}\n")
        part.replace(path)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written ({error.strerror})") from None

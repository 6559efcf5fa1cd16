"""Follows the published cell map: a file that somebody else replaces.

Decides which map is in force; never what it means for a server. Invariant: the version in force only
rises, and a map that cannot be read leaves the last one in force.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from cellwall.model import CellMap

LOOK_EVERY_S = 0.2  # guess: well below a retry wait, and five stat calls a second cost nothing

log = logging.getLogger(__name__)
_maps = msgspec.json.Decoder(CellMap)


class MapFile:
    """The map at ``path``; ``current`` is None until one could be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.current: CellMap | None = None

    @property
    def version(self) -> int:
        return 0 if self.current is None else self.current.version

    def look(self) -> CellMap | None:
        """The new map if there is one with a higher version, else None."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return None
            self._seen = seen  # also of a bad one: said once, read again when it changes
            found = _maps.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None  # not published yet
        except (OSError, msgspec.DecodeError) as error:
            log.warning("map %s: cannot be read (%s); version %d stays in force", self._path.name, error, self.version)
            return None
        if self.current is not None and found.version <= self.current.version:
            if found == self.current:
                return None
            log.warning("map %s: version %d does not follow %d; ignored", self._path.name, found.version, self.version)
            return None
        self.current = found
        return found

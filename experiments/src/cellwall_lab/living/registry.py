"""Which worlds are running on this machine, for this user: one small file each, in the user's runtime folder.

Decides names, who is alive and which one a command means; starts and ends nothing. Invariants: a name is taken by
creating its file, so two worlds never share one; a file whose process is gone counts for nothing and is swept.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

import cellwall
from cellwall.errors import Refused

from ..runfolder import SOCKET
from ..verbs import WorldClient

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")  # a file name, and a word that needs no quotes


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One world. ``process``: pid and start of the `cellwall up` that keeps it. ``folder``: the arm's. ``ready``: its
    socket answers."""

    name: str
    version: str
    process: tuple[int, int]
    folder: str = ""
    ready: bool = False
    frontend: str = ""  # URL
    page: str = ""  # URL


def folder() -> Path:
    """The user's own folder for what lives as long as a login; on a machine without one, under the temporary folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(runtime) / "cellwall" if runtime else Path(tempfile.gettempdir()) / f"cellwall-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Anybody may make a folder of that name in the temporary folder; what it names would be believed.
        if path.stat().st_uid != os.getuid():
            raise Refused(f"{path}: belongs to another user; set XDG_RUNTIME_DIR to a folder of your own")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; XDG_RUNTIME_DIR must be a folder that can be written") from None
    return path


def running() -> list[Entry]:
    """The worlds that live, by name; what others left behind is swept."""
    found = []
    for path in sorted(folder().glob("*.json")):
        entry = _read(path)
        if entry is not None and _lives(entry.process):
            found.append(entry)
        else:
            _remove(path.stem)
    return found


def find(name: str | None) -> Entry:
    """The world a command means: the one of that name, or the only one."""
    worlds = running()
    names = ", ".join(world.name for world in worlds)
    if not worlds:
        which = "no world is running" if name is None else f"--world: {name!r} is not running, nor is any other"
        raise Refused(f"{which}; `cellwall up` starts one")
    if name is None and len(worlds) > 1:
        raise Refused(f"--world: which one? It must be one of {names}")
    found = next((world for world in worlds if name in (None, world.name)), None)
    if found is None:
        raise Refused(f"--world: {name!r} is not running; it must be one of {names}")
    if found.version != cellwall.__version__:
        raise Refused(
            f"world {found.name}: was started by cellwall {found.version}, and this is {cellwall.__version__}; "
            "use that one, or end it and start another"
        )
    if not found.ready:
        raise Refused(f"world {found.name}: is still starting, which takes about a minute")
    return found


def client(entry: Entry, timeout_s: float) -> WorldClient:
    """To the world's socket, by a link beside its entry: a socket's path is limited to 107 bytes, a run folder's is
    not."""
    return WorldClient(folder() / f"{entry.name}.sock", timeout_s)


@contextlib.contextmanager
def taken(name: str | None, default: str) -> Iterator[Entry]:
    """Hold a name while the block lasts: the one asked for, or the first free one like ``default``."""
    live = {world.name for world in running()}
    if name is not None and not NAME.fullmatch(name):
        raise Refused(f"--name: {name!r} is not allowed; it must be a word of small letters, digits, '.' and '-'")
    if name in live:
        raise Refused(f"--name: {name!r} is running already; running are {', '.join(sorted(live))}")
    numbered = (default if number == 1 else f"{default}-{number}" for number in itertools.count(1))
    entry = next(filter(None, map(_take, [name] if name is not None else numbered)), None)
    if entry is None:
        raise Refused(f"--name: {name!r} is being started by another `cellwall up`")
    try:
        yield entry
    finally:
        _remove(entry.name)


def tell(entry: Entry) -> None:
    """Replace a world's entry, in one step, and link its socket."""
    path = folder() / f"{entry.name}.json"
    link = path.with_suffix(".sock")
    link.unlink(missing_ok=True)
    link.symlink_to(Path(entry.folder) / SOCKET)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(entry))
    part.replace(path)


def _take(name: str) -> Entry | None:
    """Make the name's file; None if there is one. Linked into place whole, so that nobody sweeps half a file."""
    pid = os.getpid()
    entry = Entry(name=name, version=cellwall.__version__, process=(pid, started(pid)))
    path = folder() / f"{name}.json"
    part = path.with_suffix(f".{pid}")
    part.write_bytes(msgspec.json.encode(entry))
    try:
        path.hardlink_to(part)
    except FileExistsError:
        return None
    finally:
        part.unlink()
    return entry


def started(pid: int) -> int:
    """When a process was started, in the kernel's ticks: with the pid it names one process for ever. 0: not known."""
    try:
        # The name may hold anything, also brackets and spaces; the 22nd field of proc(5) is the 20th after it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _lives(process: tuple[int, int]) -> bool:
    pid, since = process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so not one of ours
        return False
    return started(pid) == since


def _read(path: Path) -> Entry | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Entry)
    except (OSError, msgspec.DecodeError):
        return None


def _remove(name: str) -> None:
    for suffix in ("json", "sock"):
        (folder() / f"{name}.{suffix}").unlink(missing_ok=True)

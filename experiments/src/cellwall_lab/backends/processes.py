"""The processes of a local world: how each is configured, started, watched and ended.

Decides files, addresses and order of a world's processes; never when or why (that is `local`). Everything
lives under the arm's folder, every port is chosen free, every child dies with this process, and the first
child that ends unasked ends the world (`crashed`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from cellwall.errors import Unavailable
from cellwall.model import CellMap

from .. import children
from .binaries import store_binary

END_GRACE_S = 5.0
BACKLOG = 1024
DATABASES = 64  # of a store, for as many cells that share it (guess: more than anybody plays here)
LOG_TAIL = 600  # characters of a child's log quoted when it fails


def free_port() -> int:
    """A port nobody listens on now. Bound by its number afterwards: only then does a listener that was shut
    down keep it, so that a pause can be undone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listen(port: int) -> socket.socket:
    """A renewal listener, owned here and inherited by its node."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener


def write_json(path: Path, value: object) -> None:
    """Replace a file that others follow, atomically."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.encode(value))
    part.replace(path)


class Processes:
    """The children of one world, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("configs", "records", "logs", "stores", "data"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.records = folder / "records"
        self.map_path = folder / "map.json"
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._again: dict[str, Callable[[], int]] = {}  # how each was started
        self._expected: set[str] = set()  # children that may end, or are being ended

    def start(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        env: dict[str, str] | None = None,
        fds: tuple[int, ...] = (),
        may_end: bool = False,
        may_stop: bool = False,
    ) -> int:
        """Start a child; its output goes to logs/NAME.log. Returns its pid. ``may_end``: its end is no crash.
        ``may_stop``: somebody may stop it, so that only SIGKILL is sure to end it when this process dies."""
        self._again[name] = lambda: self.start(name, args, env=env, fds=fds, may_end=may_end, may_stop=may_stop)
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            child = children.start(
                args,
                stdout=log,
                stderr=log,
                env=None if env is None else {**os.environ, **env},
                pass_fds=fds,
                death_signal=signal.SIGKILL if may_stop else signal.SIGTERM,
            )
        self._children[name] = child
        if may_end:
            self._expected.add(name)
        return child.pid

    def service(
        self,
        name: str,
        module: str,
        config: object,
        *,
        fds: tuple[int, ...] = (),
        may_end: bool = False,
        may_stop: bool = False,
    ) -> int:
        """Start `python -m MODULE configs/NAME.json`."""
        path = self.folder / "configs" / f"{name}.json"
        write_json(path, config)
        return self.start(name, [sys.executable, "-m", module, path], fds=fds, may_end=may_end, may_stop=may_stop)

    def store(self, name: str, *, filled: bool = False) -> str:
        """Start a store on a unix socket; returns its URL. ``filled``: with what it has on disk. Until it is filled it
        keeps nothing there, and then the loader tells it to."""
        durable = ["--save", "", "--appendonly", "yes" if filled else "no", "--appenddirname", f"{name}.aof"]
        # Relative to the folder that the store works in, as the URL is to the arm's, where all others do: the path of a
        # socket is limited to 107 bytes.
        args: list[str | Path] = [store_binary(), "--dir", "stores", "--port", "0", "--unixsocket", f"{name}.sock"]
        self.start(f"store-{name}", [*args, *durable, "--databases", str(DATABASES), "--daemonize", "no"])
        return f"unix://stores/{name}.sock"

    def publish(self, cell_map: CellMap) -> None:
        write_json(self.map_path, cell_map)

    def wait(self, name: str, timeout_s: float) -> int | None:
        """The exit status of a child that is expected to end; None if it has not yet."""
        self._expected.add(name)
        try:
            return self._children[name].wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self, name: str) -> int:
        """End a child with SIGKILL, and see it gone. Returns the pid that it had. Its end is no crash."""
        self._expected.add(name)
        child = self._children[name]
        child.kill()
        child.wait()
        return child.pid

    def again(self, name: str) -> int:
        """Start a child that has ended as it was started before; returns its pid."""
        return self._again[name]()

    def may_end(self, name: str) -> None:
        """From now on this child's end is no crash."""
        self._expected.add(name)

    def must_stay(self, name: str) -> None:
        """From now on this child's end is a crash."""
        self._expected.discard(name)

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def poll(self, name: str) -> int | None:
        return self._children[name].poll()

    def end(self, *names: str) -> None:
        """End children, all asked first and then waited for."""
        here = [name for name in names if name in self._children]
        self._expected.update(here)
        for name in here:
            if self._children[name].poll() is None:
                children.ask_to_end(self._children[name])
        for name in here:
            children.end(self._children.pop(name), END_GRACE_S)

    def end_all(self, first: str = "limiter") -> None:
        """End everything: the limiter first, or it would stop again what is to end."""
        self.end(first)
        self.end(*reversed(list(self._children)))

    def crashed(self) -> str | None:
        """Which child ended unasked, with the end of its log; None if none has."""
        for name, child in self._children.items():
            status = child.poll()
            if status is not None and name not in self._expected:
                return f"{name} ended unasked ({children.exit_text(status)}): {self.log_tail(name)}"
        return None

    def check(self) -> None:
        if text := self.crashed():
            raise Unavailable(text)

    def log_tail(self, name: str) -> str:
        text = (self.folder / "logs" / f"{name}.log").read_text(errors="replace").strip()
        return " | ".join(text[-LOG_TAIL:].splitlines()) or f"nothing in logs/{name}.log"

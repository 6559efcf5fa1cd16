"""One arm's world as a child process: started, marked, ended.

Decides how long to wait for it and how to end it in order; knows no backend and no claim. Whatever
happens the backend is gone when `stop` or `abort` returns.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown

from . import children
from .backends.config import REFUSED_STATUS, ArmConfig, backend_module, patience
from .experiment import ArmRun
from .runfolder import LOGS, SOCKET, short
from .verbs import MarkPhase, Stop, WorldClient

POLL_S = 0.05
STOP_S = 180.0  # the audit reads every acknowledged key, then the records are merged (guess)
CALL_S = 30.0  # guess: of a verb that takes no time by itself


class World:
    """The world server of one arm."""

    def __init__(
        self,
        run: ArmRun,
        backend: str,
        folder: Path,
        calibration: Path | None = None,
        *,
        force: bool = False,
        name: str = "",
        page_port: int | None = None,
        context: str = "",
    ) -> None:
        self.folder = folder.absolute()
        self.socket = short(self.folder / SOCKET)
        self._module = backend_module(backend)
        self._config = ArmConfig(
            arm=run.arm,
            backend=backend,
            seed=run.seed,
            spec=run.spec,
            out=str(self.folder),
            calibration=None if calibration is None else str(calibration),
            force=force,
            name=name,
            page_port=page_port,
            context=context,
        )
        self._patience = patience(backend)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the backend and wait until its fleet is up."""
        logs = self.folder / LOGS
        try:
            logs.mkdir(parents=True, exist_ok=True)
            config = self.folder / "arm.json"
            self._config.write(config)
            with (logs / "world.out").open("wb") as out, (logs / "world.err").open("wb") as err:
                self._process = children.start([sys.executable, "-m", self._module, config], stdout=out, stderr=err)
        except OSError as error:
            raise Refused(f"{self.folder}: {error.strerror}") from None
        self._await_ready(logs / "world.out")

    def mark(self, phase: str) -> None:
        WorldClient(self.socket, timeout_s=CALL_S).call(MarkPhase(name=phase))

    def stop(self) -> str:
        """End the world in order, with its audit. Returns what went wrong, or nothing."""
        trouble = ""
        try:
            WorldClient(self.socket, timeout_s=STOP_S).call(Stop())
        except CellwallError as error:
            trouble = f"the world did not stop in order: {error}"
        status = self._end(self._patience.exit_s)
        return "; ".join(text for text in (trouble, self._ended(status) if status else "") if text)

    def abort(self, grace_s: float | None = None) -> str:
        """End the world now, without an audit. `Stop` would queue behind a verb in hand; a signal does not.
        Returns why it had ended, or had begun to, by itself; nothing if it had not."""
        if self._process is None:
            return ""
        before = self._process.poll()
        status = children.end(self._process, self._patience.exit_s if grace_s is None else grace_s)
        # Killed by a signal only now: the signal was ours.
        return self._ended(status) if before or status > 0 else ""

    def trouble(self) -> str:
        """Why the world ended by itself; nothing while it runs."""
        assert self._process is not None
        status = self._process.poll()
        return "" if status is None else f"ended with {children.exit_text(status)}: {self._said()}"

    def _end(self, grace_s: float) -> int:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        return children.end(self._process, grace_s)

    def _await_ready(self, out: Path) -> None:
        assert self._process is not None
        ready_s = self._patience.ready_s
        give_up = time.monotonic() + ready_s
        while b"ready" not in out.read_bytes().split():
            status = self._process.poll()
            if status == REFUSED_STATUS:
                raise Refused(self._said())
            if status is not None:
                raise Unknown(f"{self._module} ended with {children.exit_text(status)}: {self._said()}")
            if time.monotonic() > give_up:
                raise Unavailable(f"{self._module} was not ready within {ready_s:.0f} s: {self._said()}")
            time.sleep(POLL_S)

    def _ended(self, status: int) -> str:
        return f"the world ended with {children.exit_text(status)}: {self._said()}"

    def _said(self) -> str:
        """The last line of the backend's stderr, without the name that it begins with."""
        path = self.folder / LOGS / "world.err"
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), f"see {path}")
        return last.removeprefix("cellwall: ")

"""What a run looks like while it lasts: phase, time, servers out, customers' errors, queue.

Decides what is shown; never touches the run. It reads `Window` now and then, with a short time-out: a
world that is busy (simulated time passes in its `wait`) is shown as it was.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cellwall.errors import CellwallError

from .experiment import ArmRun
from .runfolder import LOGS
from .verbs import Window, WindowStats, WorldClient

READ_EVERY_S = 1.0
LINE_EVERY_S = 5.0
READ_TIMEOUT_S = 1.0


class Progress:
    """The view of one arm at a time: a live table in a terminal, a plain line every five seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._run: ArmRun | None = None
        self._socket = Path()
        self._label = ""
        self._window: WindowStats | None = None
        self._read_s = self._line_s = 0.0
        self._since_s = self._phase_since_s = 0.0  # the world's own clock: simulated seconds in a simulation

    def begin(self, run: ArmRun, backend: str, socket: Path) -> None:
        self._run, self._socket, self._window = run, socket, None
        self._label = f"{run.arm} ({backend})"
        self._line_s = time.monotonic()
        expected_s = run.line.expected_s(run.runbook)
        self._console.print(
            f"{self._label}: starting; about {expected_s:.0f} s from clean to end", style="bold", soft_wrap=True
        )
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def tick(self) -> None:
        """Call it often; it reads the world once a second."""
        now = time.monotonic()
        if now - self._read_s < READ_EVERY_S:
            return
        self._read_s = now
        self._read()
        if self._live is not None:
            self._live.update(self._table())
        elif now - self._line_s >= LINE_EVERY_S:
            self._line_s = now
            self._console.print(self.line(), highlight=False, soft_wrap=True)

    def end(self, text: str) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._console.print(f"{self._label}: {text}", highlight=False, soft_wrap=True)

    def line(self) -> str:
        """Everything in one line."""
        return "  ".join(f"{key} {value}" for key, value in self._figures())

    def _read(self) -> None:
        if not self._socket.exists():
            return
        try:
            window: WindowStats = WorldClient(self._socket, timeout_s=READ_TIMEOUT_S).call(Window())
        except CellwallError:
            return
        if self._window is None:
            self._since_s = window.now_s
        if self._window is None or window.phase != self._window.phase:
            self._phase_since_s = window.now_s
        self._window = window

    def _figures(self) -> list[tuple[str, str]]:
        assert self._run is not None
        w = self._window
        if w is None:
            return [("arm", self._label), ("phase", "starting"), *self._waiting()]
        expected_s = self._run.line.expected_s(self._run.runbook)
        return [
            ("arm", self._label),
            ("elapsed", f"{w.now_s - self._since_s:.0f} s of about {expected_s:.0f} s"),
            ("phase", f"{w.phase or '-'} for {w.now_s - self._phase_since_s:.0f} s"),
            ("out", f"{_ratio(w.servers_out, w.servers)} of servers"),
            ("errors", f"{_ratio(w.requests_failed, w.requests)} of requests"),
            ("queue", f"{sum(c.queue for c in w.cells.values())}"),
            ("oldest", f"{max((c.oldest_s for c in w.cells.values()), default=0.0):.1f} s"),
        ]

    def _waiting(self) -> list[tuple[str, str]]:
        """What a backend that takes its time has said last (the others say nothing before they end)."""
        try:
            said = (self._socket.parent / LOGS / "world.err").read_text(errors="replace").strip()
        except OSError:
            return []
        return [("said", said.splitlines()[-1].removeprefix("cellwall: "))] if said else []

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for key, value in self._figures():
            table.add_row(key, value)
        if self._window is not None and len(self._window.cells) > 1:
            cells = (f"{name} {_ratio(c.servers_out, c.servers)}" for name, c in sorted(self._window.cells.items()))
            table.add_row("cells", ", ".join(cells))
        return table


def _ratio(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "- %"

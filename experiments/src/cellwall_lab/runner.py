"""Runs an experiment's arms, one Chaos Toolkit process each, and concludes the verdict.

Decides the order and what counts. Arms run one after the other, but for those of a simulation, which share no
clock: several at once. An arm's process that ends badly without saying why makes that arm unknown, whatever
else is there, because Chaos Toolkit's own exit status cannot be trusted (research 02 §1.3). Never judges.
Invariant: SIGINT, SIGTERM and any error leave verdict.json complete and no child alive.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from cellwall.errors import CellwallError, Refused
from cellwall.verdict import Verdict

from . import children, judging
from .backends.config import SIDE_BY_SIDE, patience
from .experiment import ArmRun
from .progress import Progress
from .runfolder import EXPERIMENT, JOURNAL, LOGS, REFUSED, RunFolder, short
from .unjudged import untouched

POLL_S = 0.1
END_S = 30.0  # guess: Chaos Toolkit's rollbacks, beside the world's own end
FOREIGN_SETTINGS = "/nonexistent"  # a user's ~/.chaostoolkit must not add controls or change strategies


class Interrupted(BaseException):
    """SIGINT or SIGTERM; not an Exception, so that nothing on the way takes it for an error."""


def run(folder: RunFolder, runs: list[ArmRun], progress: Progress) -> Verdict:
    """Run these arms in order. The verdict is complete after each of them."""
    end_s = END_S + patience(folder.info.backend).exit_s
    at_once = (os.cpu_count() or 1) if folder.info.backend in SIDE_BY_SIDE else 1
    running: dict[str, subprocess.Popen[bytes]] = {}
    with signals():
        try:
            for number, arm_run in enumerate(runs):
                for ahead in runs[number : number + at_once]:
                    if ahead.arm not in running:
                        running[ahead.arm] = _start(folder, ahead.arm)
                _follow(folder, arm_run, running[arm_run.arm], progress)
                del running[arm_run.arm]
        except Interrupted as signal_name:
            for arm, process in running.items():
                children.end(process, end_s)
                _void(folder, arm, f"interrupted by {signal_name}")
            progress.end(f"interrupted by {signal_name}; nothing is left running")
            raise
        finally:
            for process in running.values():
                children.end(process, end_s)
    return conclude(folder)


def conclude(folder: RunFolder) -> Verdict:
    """What can only be judged when all arms are there."""
    return folder.put(judging.judge_across(folder))


def rejudge(folder: RunFolder) -> Verdict:
    """Judge every arm again from its records, and conclude."""
    for arm in folder.info.arms:
        judged = judging.judge(folder, arm)
        folder.put([judged.verdict], judged.versions, judged.calibration)
    return conclude(folder)


def render(path: Path) -> Path | None:
    """Write the report; None if there is nothing to draw."""
    try:
        from .report import render as render_report
    except ImportError:
        return None
    return Path(render_report(path))


def command(folder: RunFolder, arm: str) -> list[str]:
    """The Chaos Toolkit command line of one arm."""
    info, home = folder.info, folder.arm(arm)
    variables = {
        "arm": arm,
        "backend": info.backend,
        "seed:int": str(info.seed),
        "settings": shlex.join(info.settings),
        "force": "true" if info.force else "false",
        "context": info.context,
        "out": str(folder.path),
    }
    return [
        *(sys.executable, "-m", "chaostoolkit", "--no-version-check", "--settings", FOREIGN_SETTINGS),
        *("--log-file", str(home / LOGS / "chaos.log"), "run", "--journal-path", str(home / JOURNAL)),
        *(word for key, value in variables.items() for word in ("--var", f"{key}={value}")),
        str(folder.path / EXPERIMENT),
    ]


def _start(folder: RunFolder, arm: str) -> subprocess.Popen[bytes]:
    logs = folder.arm(arm) / LOGS
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "chaos.out").open("wb") as out:
        return children.start(command(folder, arm), stdout=out, stderr=subprocess.STDOUT)


def _follow(folder: RunFolder, arm_run: ArmRun, process: subprocess.Popen[bytes], progress: Progress) -> None:
    """Show an arm until it ends, and see to it that its end counts for what it is."""
    arm, chaos_log = arm_run.arm, folder.arm(arm_run.arm) / LOGS / "chaos.out"
    progress.begin(arm_run, folder.info.backend, short(folder.socket(arm)))
    while process.poll() is None:
        progress.tick()
        time.sleep(POLL_S)
    status = children.end(process, END_S)  # it has ended: this is for what it left
    refused = folder.arm(arm) / REFUSED
    if refused.exists():
        progress.end("refused")
        raise Refused(refused.read_text(encoding="utf-8").strip())
    verdict = next(a for a in folder.verdict().arms if a.name == arm)
    # Chaos Toolkit's crash writes no journal and calls no control; a control's own crash is swallowed.
    if verdict.outcome == "held" and (status != 0 or not (folder.arm(arm) / JOURNAL).exists()):
        _void(folder, arm, f"chaos run ended with {children.exit_text(status)}; see {chaos_log}")
    elif untouched(verdict):
        _void(folder, arm, f"chaos run ended with {children.exit_text(status)}, nothing judged; see {chaos_log}")
    verdict = next(a for a in folder.verdict().arms if a.name == arm)
    progress.end(verdict.outcome)


def _void(folder: RunFolder, arm: str, reason: str) -> None:
    with contextlib.suppress(CellwallError, OSError):
        folder.put([judging.void(folder, arm, reason).verdict])


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises `Interrupted`, to end in order; later ones do not disturb that."""

    def leave(signum: int, _frame: FrameType | None) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(signal.Signals(signum).name)

    before: dict[int, Callable[..., object] | int | None] = {}
    for signum in (signal.SIGINT, signal.SIGTERM):
        before[signum] = signal.signal(signum, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

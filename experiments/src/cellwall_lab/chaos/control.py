"""The control of a run: starts the arm's world before the hypothesis, ends and judges it afterwards.

Decides when the run is over; never what it means (that is the judge). Chaos Toolkit swallows a control's
errors and lets a method go on after a failed action (research 02 §1.3), so this page stops the run itself:
a world that does not start, a failed activity or a signal ends it, and its verdict is unknown, never held.

The run's parameters are the file's `configuration` (arm, backend, seed, settings, out, force), so that
`chaos run FILE --var arm=A` is `cellwall run FILE --arm A`.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from chaoslib.exceptions import InterruptExecution

from cellwall.errors import CellwallError, Refused

from .. import experiment as experiments
from .. import judging, settings, unjudged
from ..backends.config import backend_module, check_context
from ..runfolder import CALIBRATION, REFUSED, RUN, RunFolder, RunInfo, leave_refusal, new_path
from ..runner import render
from ..session import World
from . import actions

__all__ = [
    "after_activity_control",
    "after_experiment_control",
    "before_experiment_control",
    "cleanup_control",
]

logger = logging.getLogger("chaostoolkit")
SESSION = "cellwall_session"  # where the run's state stands in `configuration`, which all hooks share
_LAST: list[World] = []  # for `cleanup_control`, which gets no argument: a world that nobody has ended


class _Session(msgspec.Struct):
    """What the hooks of one run share."""

    folder: RunFolder
    run: experiments.ArmRun
    world: World
    alone: bool  # `chaos run` without `cellwall run`: nobody else draws the report
    trouble: str = ""


def before_experiment_control(context: Any, configuration: Any, **_: Any) -> None:
    """Start the world of the arm and hand its socket, targets and durations to the activities."""
    # SystemExit passes through an action, where Chaos Toolkit 1.44 takes its own InterruptExecution for a failure.
    signal.signal(signal.SIGTERM, _leave)
    try:
        session = _open(context, configuration)
    except CellwallError as error:
        _leave_word(configuration, str(context.get("title")), str(error))
        _refuse(configuration, str(error))
    configuration[SESSION] = session
    _LAST.append(session.world)
    try:
        session.world.start()
        _hand_on(session, configuration)
        session.world.mark("start")
    except CellwallError as error:
        if isinstance(error, Refused):  # the user's input, found late: the runner turns it into exit status 3
            (session.world.folder / REFUSED).write_text(f"{error}\n", encoding="utf-8")
        session.trouble = f"the world did not start: {error}"
        _refuse(configuration, session.trouble)


def after_activity_control(context: Any, configuration: Any, state: Any = None, **_: Any) -> None:
    """End the run when an activity has failed: nothing after it would mean what the file says."""
    session = configuration.get(SESSION)
    if not isinstance(session, _Session) or not isinstance(state, dict) or state.get("status") == "succeeded":
        return
    error = (state.get("exception") or ["interrupted"])[-1].strip().partition(": ")[2]
    first = not session.trouble
    session.trouble = session.trouble or f"{context.get('name')}: {error or 'interrupted'}"
    if first and "exception" in state:
        raise InterruptExecution(session.trouble)


def after_experiment_control(context: Any, configuration: Any, state: Any, **_: Any) -> None:
    """End the world, judge the arm, and make `chaos run` exit 1 unless every claim held."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already; the runner's patience is the limit
    session = configuration.get(SESSION)
    if not isinstance(session, _Session):
        _fail(state)
        return
    arm = session.run.arm
    trouble = session.trouble or _trouble(state)
    try:
        if trouble:
            # A verb that failed may be no more than the echo of a crash, and the crash is what the user asks about.
            ended = session.world.abort()
            trouble = f"{trouble}; {ended}" if ended else trouble
        else:
            session.world.mark("end")
            trouble = session.world.stop()
        judged = judging.void(session.folder, arm, trouble) if trouble else judging.judge(session.folder, arm)
        verdict = session.folder.put([judged.verdict], judged.versions, judged.calibration)
    except Exception as error:  # a control's error is swallowed: this is the last chance to say so
        logger.critical("cellwall: %s: no verdict: %s", arm, error)
        _fail(state)
        raise
    finally:
        cleanup_control()
    if session.alone:
        render(session.folder.path)
    outcome = next(a.outcome for a in verdict.arms if a.name == arm)
    logger.info("cellwall: %s: %s; %s", arm, outcome, session.folder.path)
    if outcome != "held":
        _fail(state)


def cleanup_control() -> None:
    """Leave nothing running, whatever has happened."""
    while _LAST:
        _LAST.pop().abort()


def _open(context: dict[str, Any], configuration: dict[str, Any]) -> _Session:
    experiment = experiments.from_document({k: v for k, v in context.items() if k != "dry"})
    if context.get("dry"):
        raise Refused("--dry: not allowed; `cellwall lint` checks a file, `--backend simulation` runs it in seconds")
    arm, backend = str(configuration["arm"]), str(configuration["backend"])
    context_name = str(configuration.get("context") or "")
    backend_module(backend)
    check_context(backend, context_name)
    assignments = shlex.split(str(configuration.get("settings") or ""))
    force = str(configuration.get("force") or "").lower() in ("1", "true", "yes")
    run = experiments.resolve(
        experiment, arm, overrides=settings.parse(assignments), seed=int(configuration["seed"]), force=force
    )
    out = str(configuration.get("out") or "")
    alone = not (out and (Path(out) / RUN).exists())
    if not alone:
        folder = RunFolder.open(Path(out))
    else:
        info = RunInfo(
            experiment=experiment.name,
            backend=backend,
            seed=run.seed,
            arms=[arm],
            settings=assignments,
            force=force,
            context=context_name,
        )
        folder = RunFolder.create(experiment, info, Path(out) if out else None)
    calibration = next((p for a in folder.info.arms if (p := folder.arm(a) / CALIBRATION).exists()), None)
    world = World(run, backend, folder.arm(arm), calibration, force=force, context=context_name)
    return _Session(folder, run, world, alone)


def _hand_on(session: _Session, configuration: dict[str, Any]) -> None:
    run = session.run
    line = msgspec.to_builtins(run.line)
    configuration.update(line)
    configuration["targets"] = {k: v for k, v in msgspec.to_builtins(run.targets).items() if v is not None}
    configuration["renew_every_s"] = run.spec.renewal.renew_every_s
    configuration["time_limit_s"] = run.spec.renewal.time_limit_s
    configuration[actions.WORLD] = str(session.world.socket)
    configuration[actions.LINE] = line
    configuration[actions.RUNBOOK] = run.runbook
    configuration[actions.RENEWAL] = msgspec.to_builtins(run.spec.renewal)


def _trouble(journal: dict[str, Any]) -> str:
    """Why the run does not count, from the journal: a bad start, a failed step or rollback, an interruption."""
    before = journal["steady_states"]["before"]
    if before is not None and not before["steady_state_met"]:
        probe = before["probes"][-1]
        return f"not healthy at the start: {probe['activity']['name']} was {probe['output']!r}"
    if journal["status"] != "completed":
        return f"the run was {journal['status']}"
    for activity in _activities(journal):
        if activity.get("status") != "succeeded":
            return f"{activity['activity']['name']}: did not succeed"
    return ""


def _activities(journal: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from journal["run"] or []
    yield from journal["rollbacks"] or []


def _leave_word(configuration: dict[str, Any], name: str, reason: str) -> None:
    """A run that was refused leaves a verdict too: unknown, with the reason."""
    arm, backend = str(configuration.get("arm")), str(configuration.get("backend"))
    info = RunInfo(experiment="refused", backend=backend, seed=0, arms=[arm])
    path = Path(str(configuration.get("out") or "") or new_path(info))
    if not (path / RUN).exists():
        leave_refusal(path, unjudged.refusal(name, backend, 0, [arm], reason))
        return
    with contextlib.suppress(CellwallError, OSError):
        folder = RunFolder.open(path)
        folder.put([judging.void(folder, arm, reason).verdict])


def _refuse(configuration: dict[str, Any], reason: str) -> NoReturn:
    """Write the reason where the user looks, then end the run: any other error would be swallowed."""
    session = configuration.get(SESSION)
    if isinstance(session, _Session):
        with contextlib.suppress(CellwallError, OSError):
            session.folder.put([judging.void(session.folder, session.run.arm, reason).verdict])
    raise InterruptExecution(f"cellwall: {reason}")


def _fail(state: Any) -> None:
    state["status"] = "failed"
    state["deviated"] = True


def _leave(signum: int, _frame: Any) -> NoReturn:
    raise SystemExit(20)  # chaoslib.exit: 20 ends the run and keeps the rollbacks

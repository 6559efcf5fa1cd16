"""From the command line's words to a run folder: everything that can be checked before anything starts.

Decides whether a run may begin; starts nothing. Invariant: what is refused here leaves no folder behind, but in a
folder that was asked for (--out) a verdict that says why, for whoever looks there and not at the exit status.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from cellwall.errors import Refused

from . import experiment as experiments
from . import settings
from .backends.config import backend_module, check_context
from .experiment import ArmRun, Experiment
from .runfolder import PREDICTION, RunFolder, RunInfo, check_path, leave_refusal, new_path
from .unjudged import refusal


def prepare(
    name: str,
    backend: str,
    arms: Sequence[str],
    seed: str | None,
    assignments: list[str],
    out: Path | None,
    force: bool,
    *,
    context: str = "",
    prediction: bool = False,
) -> tuple[RunFolder, list[ArmRun]]:
    """Check it all, then make the run folder. ``prediction``: there will be another run inside it."""
    try:
        return _checked(name, backend, arms, seed, assignments, out, force, context, prediction)
    except Refused as error:
        if out is not None and not str(error).startswith("--out"):
            leave_refusal(out, refusal(Path(name).stem, backend, 0, arms or ["all"], str(error)))
        raise


def _checked(
    name: str,
    backend: str,
    arms: Sequence[str],
    seed: str | None,
    assignments: list[str],
    out: Path | None,
    force: bool,
    context: str,
    prediction: bool,
) -> tuple[RunFolder, list[ArmRun]]:
    experiment = experiments.load(name)
    backend_module(backend)
    check_context(backend, context)
    overrides = settings.parse(assignments)
    names = experiment.arms_named(arms)
    chosen = seed_of(seed)
    runs = [experiments.resolve(experiment, arm, overrides=overrides, seed=chosen, force=force) for arm in names]
    for warning in dict.fromkeys(text for r in runs for text in r.warnings):
        print(f"cellwall: warning: {warning}", file=sys.stderr)
    seeds = {r.seed for r in runs}
    if len(seeds) > 1:
        raise Refused(f"arms: they have the seeds {sorted(seeds)}; arms of one run must share one (--seed)")
    info = RunInfo(
        experiment=experiment.name,
        backend=backend,
        seed=seeds.pop(),
        arms=names,
        settings=assignments,
        force=force,
        context=context,
        command=_repeat(name, backend, context, names, runs[0].seed, assignments, force, experiment),
    )
    path = (out or new_path(info)).absolute()
    check_path(path / PREDICTION if prediction else path, names)
    return RunFolder.create(experiment, info, path, experiments.find(name)), runs


def seed_of(text: str | None) -> int | None:
    """A seed as it was typed."""
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise Refused(f"--seed: {text!r} is not allowed; it must be a whole number >= 0")


def _repeat(
    name: str,
    backend: str,
    context: str,
    arms: list[str],
    seed: int,
    assignments: list[str],
    force: bool,
    experiment: Experiment,
) -> str:
    """The command that repeats this run."""
    words = ["cellwall", "run", name, "--backend", backend, "--seed", str(seed)]
    words += ["--context", context] if context else []
    if arms != list(experiment.extension.arms):
        words += [word for arm in arms for word in ("--arm", arm)]
    words += [word for text in assignments for word in ("--set", text)]
    return shlex.join([*words, "--force"] if force else words)

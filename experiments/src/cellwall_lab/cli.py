"""The command line: `cellwall run | demo | report | list | lint | doctor`, and `living.commands` for a running world.

Decides words, arguments and exit status (0 all claims held, 1 some broken, 2 unknown, 3 usage); the work
is `runner`'s. Whatever is wrong with the input is one line on stderr that names the field, the value and
what would be right.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import Exit, TyperException

from cellwall.errors import CellwallError
from cellwall.verdict import Verdict, exit_status, merge

from . import doctor as health
from . import experiment as experiments
from . import runner
from .lint import problems
from .living import commands as living
from .predict import command as predict
from .prepare import prepare
from .progress import Progress
from .runfolder import PREDICTION, RunFolder

USAGE = 3
DEMO = "september-2015"
DEMO_ARMS = ("monolith", "cells-4")

app = typer.Typer(
    name="cellwall",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Rebuild the DynamoDB event of 20 September 2015, and measure what each remedy does.",
    epilog="Exit status: 0 all claims held (a step: done), 1 some broken (refused), 2 unknown, 3 wrong usage.",
)

ExperimentArg = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="A file, or a name that `cellwall list` shows.")
]
SeedOption = Annotated[
    str | None, typer.Option("--seed", metavar="N", help="Fixes sizes, placement, arrivals and targets.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, e.g. renewal.time_limit_s=3 or pace=60; repeat."
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Run folder; default runs/<utc>-<experiment>-<backend>-s<seed>."),
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="CTX", help="The cluster, by its name in the kubeconfig; has no default.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run although a cell is too small (a warning then).")]


@app.command()
def run(
    experiment: ExperimentArg,
    backend: Annotated[
        str,
        typer.Option(
            help="local: real processes on this machine. simulation: seconds. kubernetes: pods of a cluster. "
            "Or a module of your own."
        ),
    ] = "local",
    context: ContextOption = "",
    arm: Annotated[
        list[str] | None, typer.Option("--arm", metavar="ARM", help="Only this arm; repeat. Default: all.")
    ] = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    out: OutOption = None,
    force: ForceOption = False,
) -> int:
    """Run an experiment's arms one after the other, judge them and write a report.

    Example: cellwall run september-2015 --backend simulation --arm monolith --arm cells-4 --seed 3
    """
    console = Console()
    folder, runs = prepare(experiment, backend, arm or [], seed, set_ or [], out, force, context=context)
    return _finish(folder, runner.run(folder, runs, Progress(console)), console)


@app.command()
def demo(
    seed: SeedOption = None,
    set_: SetOption = None,
    out: OutOption = None,
    force: ForceOption = False,
) -> int:
    """The main job: predict the event in seconds, then grow it from real processes, once whole and once in cells.

    The prediction (simulation) lands in <run>/prediction; then both arms run for real, and one report shows both.
    """
    console = Console()
    folder, runs = prepare(DEMO, "local", DEMO_ARMS, seed, set_ or [], out, force, prediction=True)
    inner, predicted = prepare(DEMO, "simulation", DEMO_ARMS, seed, set_ or [], folder.path / PREDICTION, force)
    console.print("Prediction: the same experiment in the simulation", style="bold")
    _print(runner.run(inner, predicted, Progress(console)), console)
    console.print("The same with real processes", style="bold")
    return _finish(folder, runner.run(folder, runs, Progress(console)), console)


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders, as `cellwall run` leaves them.")
    ],
) -> int:
    """Judge and draw again from the recorded data; nothing is run."""
    console = Console()
    opened = [RunFolder.open(path) for path in folders]
    verdicts = []
    for folder in opened:
        if (folder.path / PREDICTION).is_dir():
            runner.rejudge(RunFolder.open(folder.path / PREDICTION))
        verdicts.append(runner.rejudge(folder))
        _finish(folder, verdicts[-1], console)
    return exit_status(merge(v.outcome for v in verdicts))


@app.command(name="list")
def list_() -> int:
    """Name the experiments that come with the project, their arms and what each arm asks."""
    console = Console(soft_wrap=True)
    for path in sorted(experiments.FOLDER.glob("*.yaml")):
        found = experiments.load(path)
        console.print(f"{found.name}: {found.title}", style="bold", highlight=False)
        console.print(f"  {found.extension.question}", highlight=False)
        for name, arm in found.extension.arms.items():
            console.print(f"  {name:<16} {arm.question}", highlight=False, markup=False)
    return 0


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Experiment files.")],
) -> int:
    """Name everything that is wrong with experiment files, one line each."""
    bad = False
    for path in files:
        document = experiments.read(path)
        for problem in problems(document, path.stem):
            print(f"{path}: {problem}", file=sys.stderr)
            bad = True
    return USAGE if bad else 0


@app.command()
def doctor(context: ContextOption = "") -> int:
    """Say whether this machine (with --context: that cluster) can hold a verdict, and which faults it can do."""
    console = Console(soft_wrap=True)
    found: list[health.Check] = []
    colour = {"ok": "green", "doubtful": "yellow", "bad": "red"}
    cluster = _cluster_checks() if context else None
    for check in health.checks() if cluster is None else cluster.examine(context):
        found.append(check)
        console.print(f"{check.grade:<9}", style=colour[check.grade], end="")
        console.print(f"{check.name:<14} {check.text}", highlight=False, markup=False)
    for fault, text in (health.faults(found) if cluster is None else cluster.faults(found)).items():
        console.print(f"fault    {fault:<14} {text}", highlight=False, markup=False)
    grades = {check.grade for check in found}
    where = f"The cluster of context {context}" if context else "This machine"
    if "bad" in grades:
        backend = "kubernetes" if context else "local"
        console.print(f"{where} cannot hold a verdict of the {backend} backend; --backend simulation runs anywhere.")
        return exit_status("unknown")
    doubt = "; doubtful where marked, so a run may come out unknown" if "doubtful" in grades else ""
    console.print(f"{where} can hold a verdict{doubt}.")
    return 0


def _cluster_checks() -> ModuleType:
    """Loaded only where a cluster is meant: the client takes most of a second."""
    from .backends.cluster import checks

    return checks


living.add_to(app)
predict.add_to(app)


def _finish(folder: RunFolder, verdict: Verdict, console: Console) -> int:
    _print(verdict, console)
    page = runner.render(folder.path)
    if page is not None:
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    console.print(f"verdict: {verdict.outcome}  ({folder.path / 'verdict.json'})", soft_wrap=True, highlight=False)
    return exit_status(verdict.outcome)


def _print(verdict: Verdict, console: Console) -> None:
    table = Table(title=f"{verdict.experiment}, seed {verdict.seed}, {verdict.backend}")
    for heading in ("arm", "claim", "outcome", "value"):
        table.add_column(heading, no_wrap=True)
    table.add_column("must be")
    colour = {"held": "green", "broken": "red", "unknown": "yellow"}
    for arm in verdict.arms:
        for claim in arm.claims:
            value = "-" if claim.value is None else f"{claim.value:.4g}"
            bound = f"{claim.bound.text()} {claim.unit}".strip()
            table.add_row(arm.name, claim.id, claim.outcome, value, bound, style=colour[claim.outcome])
    console.print(table)
    # One line per reason: a void run has the same one for each of its claims.
    for arm in verdict.arms:
        for reason in dict.fromkeys(c.evidence for c in arm.claims if c.outcome != "held"):
            console.print(f"{arm.name}: {reason}", soft_wrap=True, highlight=False, markup=False)


def call(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status instead of raising."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        if not words:
            typer.main.get_command(app).main(args=["--help"], prog_name="cellwall", standalone_mode=False)
            return USAGE
        status = typer.main.get_command(app).main(args=words, prog_name="cellwall", standalone_mode=False)
    except TyperException as error:
        return _say(error.format_message())
    except CellwallError as error:
        return _say(str(error))
    except runner.Interrupted:
        return 2
    except Exit as error:
        return error.exit_code
    return status if isinstance(status, int) else 0


def _say(text: str) -> int:
    print(f"cellwall: {' '.join(text.split())}", file=sys.stderr)
    return USAGE


def main() -> None:
    sys.exit(call())

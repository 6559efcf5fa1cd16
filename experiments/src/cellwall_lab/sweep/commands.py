"""The command line of sweeps: `cellwall sweep` and `cellwall compare`.

Decides words, arguments and exit status (0 done or no difference, 1 they differ, 2 unknown, 3 wrong usage); what is
run, `points` decides. The same command with the same --out goes on where an earlier one was ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..living.arguments import whole

BUDGET = "30m"  # the issue: the whole segmentation grid with 20 seeds on two cores


def command_sweep(
    experiment: Annotated[
        str, typer.Argument(metavar="EXPERIMENT", help="A file, or a name that `cellwall list` shows.")
    ],
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KEY=V,V…", help="An axis: a setting, or trigger, share, cut_s; repeat."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="GRID", help="Only this grid of the file; repeat.")
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="A-B", help="Like 1-20, or 1,2,5.")] = "1-3",
    boundary: Annotated[
        str | None,
        typer.Option("--boundary", metavar="KEY=LOW:HIGH", help="At each point, search where it tips, by bisection."),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Of --boundary, in KEY's unit; default a 32nd of its span.")
    ] = None,
    hysteresis: Annotated[
        str | None,
        typer.Option("--hysteresis", metavar="LOW:HIGH", help="At each point, step the load up and down, no trigger."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of every point; repeat.")
    ] = None,
    watch_s: Annotated[float | None, typer.Option("--watch-s", help="Simulated seconds after the trigger.")] = None,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="Refuse what would take longer.")] = BUDGET,
    jobs: Annotated[
        int | None, typer.Option("--jobs", parser=whole("--jobs", 1), help="Worker processes; default: one a core.")
    ] = None,
    calibration_: Annotated[
        Path | None,
        typer.Option(
            "--calibration", metavar="DIR", help="An arm's folder of a local run: its costs, not the typical."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Its folder; the same again goes on in it.")
    ] = None,
) -> int:
    """Simulate a grid of settings with many seeds, and measure what outages do.

    Examples:

      cellwall sweep segmentation --only containment --seeds 1-20

      cellwall sweep september-2015 --grid cells=1,2,4 --grid trigger=cell,spread --seeds 1-5

      cellwall sweep september-2015 --grid cpu.load_factor=5,6 --boundary share=0.01:0.5
    """
    from .sitting import Wish, carry_out  # numpy, scipy and pyarrow take a second that no other command should wait

    return carry_out(
        Wish(
            experiment=experiment,
            grid=grid or [],
            only=only or [],
            seeds=seeds,
            boundary=boundary,
            tolerance=tolerance,
            hysteresis=hysteresis,
            settings=set_ or [],
            watch_s=watch_s,
            budget=budget,
            jobs=jobs,
            calibration=calibration_,
            out=out,
        )
    )


def command_compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A sweep's folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, with points in common.")],
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="Of a run, e.g. customers_1; repeat. Default: the main ones.")
    ] = None,
) -> int:
    """Say whether two sweeps differ and by how much, with the interval of the difference. Exit status 1: they do."""
    from .sitting import compare

    return compare(a, b, measure or [])


def add_to(app: typer.Typer) -> None:
    app.command(name="sweep")(command_sweep)
    app.command(name="compare")(command_compare)

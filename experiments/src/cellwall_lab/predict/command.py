"""The command line of `cellwall predict`.

Decides words, arguments and which cell is told about; the answer is `forecast`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from cellwall import forecast
from cellwall.errors import Refused
from cellwall.meanfield import Cell, Course, course

from ..living.arguments import number, whole
from ..prepare import seed_of
from ..runfolder import RUN
from .recorded import of_run
from .sources import CUT, Case, Numbers, of_experiment, of_numbers
from .telling import Forecast, tell

NUMBERS = ("servers", "large_ms", "renew", "timeout", "cpu")  # without these there is no system


def _option(name: str, help: str, parser: Callable[[Any], Any], metavar: str = "N") -> Any:
    return typer.Option(name, metavar=metavar, help=help, parser=parser)


def ratio(name: str) -> Callable[[Any], float]:
    """Reads a share."""
    read = number(name, least=0)

    def within(text: Any) -> float:
        if (value := read(text)) <= 1:
            return value
        raise Refused(f"{name}: {text!r} is not allowed; it must be a share in 0..1")

    return within


def above_zero(name: str) -> Callable[[Any], float]:
    return number(name, above=0)


def command_predict(
    source: Annotated[
        str | None, typer.Argument(metavar="[EXPERIMENT|DIR]", help="An experiment (file or name), or a run folder.")
    ] = None,
    arm: Annotated[str | None, typer.Option("--arm", metavar="ARM", help="Default: the first.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change an experiment's setting; repeat.")
    ] = None,
    seed: Annotated[str | None, typer.Option("--seed", metavar="N", help="Of an experiment.")] = None,
    servers: Annotated[int | None, _option("--servers", "Storage servers.", whole("--servers", 1))] = None,
    large_share: Annotated[
        float, _option("--large-share", "Share of servers with large memberships.", ratio("--large-share"), "SHARE")
    ] = 1.0,
    large_ms: Annotated[
        float | None, _option("--large-ms", "CPU ms of a large one's renewal.", above_zero("--large-ms"), "MS")
    ] = None,
    small_ms: Annotated[
        float | None,
        _option("--small-ms", "CPU ms of any other renewal; default: large / 20.", above_zero("--small-ms"), "MS"),
    ] = None,
    request_ms: Annotated[
        float, _option("--request-ms", "CPU ms of accepting a request.", number("--request-ms", least=0), "MS")
    ] = 0.0,
    renew: Annotated[float | None, _option("--renew", "Renewal period R, seconds.", above_zero("--renew"), "S")] = None,
    timeout: Annotated[
        float | None, _option("--timeout", "Time limit T of a renewal, seconds.", above_zero("--timeout"), "S")
    ] = None,
    wait: Annotated[float, _option("--wait", "Mean wait before a retry, seconds.", above_zero("--wait"), "S")] = 0.3,
    cpu: Annotated[float | None, _option("--cpu", "Cores of the whole service.", above_zero("--cpu"), "CORES")] = None,
    cells: Annotated[int, _option("--cells", "Cells that share them equally.", whole("--cells", 1))] = 1,
    cut: Annotated[
        float, _option("--cut", "Share of the servers cut off at once, cell after cell.", ratio("--cut"), "SHARE")
    ] = CUT,
    cut_s: Annotated[float, _option("--cut-s", "For how long, seconds.", above_zero("--cut-s"), "S")] = 3.0,
    spread: Annotated[bool, typer.Option("--spread", help="Cut that share of every cell instead.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> int:
    """Tell what would tip a metadata service, while it is healthy: how far it is, which cut does it, what helps most.

    Of an experiment's arm, of a recorded run, or of plain numbers of anybody's system. Nothing is run.

    Examples:

      cellwall predict september-2015 --arm cells-4

      cellwall predict runs/20261123T044100Z-september-2015-local-s1

      cellwall predict --servers 800 --large-share 0.5 --large-ms 9.4 --renew 20 --timeout 2 --cpu 0.36 --cells 4
    """
    named = {"servers": servers, "large_ms": large_ms, "renew": renew, "timeout": timeout, "cpu": cpu}
    if source is None:
        missing = [f"--{name.replace('_', '-')}" for name in NUMBERS if named[name] is None]
        if missing:
            raise Refused(f"{missing[0]}: missing; predict needs an experiment, a run folder, or plain numbers")
        assert servers and large_ms and renew and timeout and cpu
        numbers = Numbers(
            servers=servers,
            large_share=large_share,
            large_ms=large_ms,
            small_ms=large_ms / 20 if small_ms is None else small_ms,
            request_ms=request_ms,
            renew_s=renew,
            timeout_s=timeout,
            wait_s=wait,
            cpu=cpu,
            cells=cells,
            cut=cut,
            cut_s=cut_s,
            spread=spread,
        )
        case = of_numbers(numbers)
    elif given := [f"--{name.replace('_', '-')}" for name in NUMBERS if named[name] is not None]:
        raise Refused(f"{given[0]}: not allowed beside {source!r}; an experiment's settings change with --set")
    elif (Path(source) / RUN).exists():
        case = of_run(Path(source), arm)
    else:
        case = of_experiment(source, arm, set_ or [], seed_of(seed))
    found = whole_forecast(case)
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        tell(found, Console(soft_wrap=True, highlight=False, markup=False))
    return 0


def whole_forecast(case: Case) -> Forecast:
    """All cells' courses, and everything about the one that is struck hardest (of equals, the first)."""
    known: dict[Cell, Course] = {}
    for cell in case.cells.values():
        if cell not in known:
            known[cell] = course(cell, case.cut_s)
    servers = {name: sum(size.servers for size in cell.sizes) for name, cell in case.cells.items()}
    struck = {name: sum(size.cut for size in cell.sizes) / servers[name] for name, cell in case.cells.items()}
    worst = max(case.cells, key=lambda name: struck[name])
    courses = {name: known[cell] for name, cell in case.cells.items()}
    out = sum(servers[name] * found.out_ratio for name, found in courses.items() if found.stuck)
    return Forecast(
        title=case.title,
        notes=case.notes,
        out_ratio=out / sum(servers.values()),
        cells=courses,
        cell=worst,
        outlook=forecast.outlook(case.cells[worst], case.cut_s),
        remedies=forecast.remedies(case.cells[worst], case.cut_s),
    )


def add_to(app: typer.Typer) -> None:
    app.command(name="predict")(command_predict)

"""The command line of a running world: `cellwall up` and what acts on it or looks at it.

Decides words, arguments and exit status of these commands (0 done, 1 refused, 2 unknown, 3 wrong usage); what is
done, the world's verbs do. Every command but `up` is a thin client of a world that another one keeps.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from cellwall.errors import Refused

from .. import verbs
from . import growing, registry, up, watching
from .arguments import number, whole
from .arguments import tables as named_tables
from .telling import Telling
from .up import ARM

WorldOption = Annotated[
    str | None, typer.Option("--world", metavar="NAME", help="Which running world; default: the only one.")
]
CellOption = Annotated[str, typer.Option("--cell", metavar="CELL", help="One cell, several with commas, or * for all.")]
STATUS = {"done": 0, "refused": 1, "unknown": 2}
CALL_S = 120.0  # guess: longer than any verb takes beyond the time that it was told to let pass


def command_up(
    name: Annotated[str | None, typer.Option("--name", help="What it is called; default: after its arm.")] = None,
    arm: Annotated[str, typer.Option("--arm", metavar="ARM", help="Of september-2015; see `cellwall list`.")] = ARM,
    cells: Annotated[
        int | None,
        typer.Option("--cells", metavar="N", parser=whole("--cells", 1), help="Cut the same CPU into N cells."),
    ] = None,
    seed: Annotated[str | None, typer.Option("--seed", metavar="N", help="Fixes sizes, placement, arrivals.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. load.rps=50; repeat.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder; default runs/<utc>-living-<name>-s<seed>.")
    ] = None,
    page_port: Annotated[
        int,
        typer.Option(
            "--page-port",
            metavar="PORT",
            parser=whole("--page-port", 0, 65535),
            help="Of the live page; 0: a free one.",
        ),
    ] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Start although a cell is too small (a warning then).")
    ] = False,
) -> int:
    """Start a world with customers and keep it running until Ctrl-C.

    Then act on it from another terminal: watch, cut, grow, pause, resume, weight, limit-cpu, grow-indexes, explain.
    Two worlds may run at once; the machine's two cores are then shared, and both are slower.

    Examples:

      cellwall up

      cellwall up --cells 4 --seed 3

      cellwall up --name small --set fleet.servers=50 --set cpu.total_cores=1
    """
    history = up.keep(up.plan(arm, cells, seed, set_ or [], page_port, force), name, out, Telling())
    _say(f"ended; history: {history}" if history else "ended before it was up; nothing is left running")
    return 0


def command_env(
    customer: Annotated[str, typer.Option("--customer", help="Whose tables to use; the access key names it.")] = "me",
    world: WorldOption = None,
) -> int:
    """Print the settings with which boto3 and the aws command speak to this world, for a shell to take in.

    Example: eval "$(cellwall env)" && aws dynamodb list-tables
    """
    for key, value in up.environment(registry.find(world), customer).items():
        _say(f"export {key}={shlex.quote(value)}")
    return 0


def command_cut(
    domain: Annotated[
        int | None,
        typer.Option(
            "--domain",
            metavar="N",
            parser=whole("--domain", 0, 3),
            help="A network domain, a quarter of the servers: 0 to 3.",
        ),
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="All servers of a zone: a, b or c.")
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(
            "--spread", metavar="SHARE", parser=number("--spread", above=0), help="That share of every placement group."
        ),
    ] = None,
    servers: Annotated[
        str | None, typer.Option("--servers", metavar="S,S…", help="These, by id: s-0001,s-0002.")
    ] = None,
    for_s: Annotated[
        float,
        typer.Option("--for-s", metavar="S", parser=number("--for-s", above=0), help="How long; it ends by itself."),
    ] = 3.0,
    world: WorldOption = None,
) -> int:
    """Make storage servers unreachable for a while. Default: network domain 0 for three seconds, as in the experiment.

    Examples:

      cellwall cut

      cellwall cut --zone b --for-s 10
    """
    given = {"domain": domain, "zone": zone, "spread": spread, "servers": servers.split(",") if servers else None}
    chosen = {key: value for key, value in given.items() if value is not None} or {"domain": 0}
    if len(chosen) > 1:
        words = ", ".join(f"--{key}" for key in chosen)
        raise Refused(f"{words}: only one of them is allowed; it must be one of --domain, --zone, --spread, --servers")
    on: verbs.CutOn = _call(world, verbs.Cut(targets=msgspec.convert(chosen, verbs.Targets), for_s=for_s))
    _say(f"{on.id}: {on.servers} servers are unreachable for {for_s:g} s; `cellwall watch` shows what follows")
    return 0


def command_pause(cell: CellOption = "*", world: WorldOption = None) -> int:
    """Close the renewal listeners: nobody gets a membership, and the retry load is gone at once.

    Within a renewal period every server of the cell leaves service: the cure hurts. Undo with `cellwall resume`.
    """
    return _step("pause", _call(world, verbs.Pause(cell=cell)))


def command_resume(
    cell: CellOption = "*",
    over_s: Annotated[
        float | None,
        typer.Option(
            "--over-s",
            metavar="S",
            parser=number("--over-s", least=0),
            help="Pace of the waves; default: what the CPU allows.",
        ),
    ] = None,
    world: WorldOption = None,
) -> int:
    """Open the renewal listeners again; the servers that are out come back in waves, not all at once."""
    return _step("resume", _call(world, verbs.Resume(cell=cell, over_s=over_s)))


def command_grow(
    cell: Annotated[
        str, typer.Option("--cell", metavar="CELL", help="One cell, or * for those that are sick, else all.")
    ] = "*",
    deadline_s: Annotated[
        float | None,
        typer.Option(
            "--deadline-s",
            metavar="S",
            parser=number("--deadline-s", above=0),
            help="Of each administrative request; default 2 T.",
        ),
    ] = None,
    world: WorldOption = None,
) -> int:
    """Try to add a metadata node. Under overload it starves, as in 2015: its requests share the path with renewals."""
    verb = verbs.AddCapacity(cell=cell, deadline_s=deadline_s)
    return _step("grow", _call(world, verb, passes_s=16 * (deadline_s or 0.0)))


def command_limit_cpu(
    factor: Annotated[
        float,
        typer.Argument(
            metavar="FACTOR", parser=number("FACTOR", above=0), help="Times the present limit, e.g. 0.8 or 2."
        ),
    ],
    cell: CellOption = "*",
    world: WorldOption = None,
) -> int:
    """Multiply the CPU limit of a cell's nodes, until you change it again.

    Example: cellwall limit-cpu 2 --cell cell-0
    """
    return _step("limit-cpu", _call(world, verbs.LimitCpu(factor=factor, cell=cell)))


def command_weight(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Its name, e.g. cell-0.")],
    partition: Annotated[
        int,
        typer.Argument(metavar="PARTITION", parser=whole("PARTITION", 0), help="A metadata partition of it, from 0."),
    ],
    percent: Annotated[
        float, typer.Argument(metavar="PERCENT", parser=number("PERCENT", least=0), help="Of its traffic: 0 to 100.")
    ],
    world: WorldOption = None,
) -> int:
    """Set a metadata partition's traffic weight. In 2015 one stayed low for a day, and few customers were hit hard.

    Example: cellwall weight cell-0 3 10
    """
    return _step("weight", _call(world, verbs.Weight(cell=cell, partition=partition, percent=percent)))


def command_grow_indexes(
    tables: Annotated[
        str, typer.Option("--tables", metavar="N|NAME,…", help="So many of the largest, or customer/table, ….")
    ] = "1",
    count: Annotated[
        int, typer.Option("--count", metavar="K", parser=whole("--count", 1), help="Indexes for each of them.")
    ] = 1,
    deadline_s: Annotated[
        float,
        typer.Option("--deadline-s", metavar="S", parser=number("--deadline-s", above=0), help="When to stop waiting."),
    ] = 120.0,
    world: WorldOption = None,
) -> int:
    """Add global secondary indexes to large tables, as customers did before September 2015, and see memberships grow.

    Example: cellwall grow-indexes --tables 16 --count 1
    """
    verb = verbs.GrowIndexes(tables=named_tables(tables), count=count, deadline_s=deadline_s)
    result = growing.follow(registry.find(world), verb, Console(soft_wrap=True, highlight=False, markup=False))
    return _step("grow-indexes", result)


def command_watch(
    once: Annotated[bool, typer.Option("--once", help="Print one snapshot and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one snapshot as JSON and end.")] = False,
    world: WorldOption = None,
) -> int:
    """Show how a world does: per cell servers in and out, queue, oldest request and headroom; errors and faults.

    "retrieved in" is the slowest of the large memberships, against the time limit: what is left is the headroom. The
    figure comes from the metadata nodes themselves; one that is overloaded says nothing, and "no answer" is shown.
    """
    watching.watch(registry.find(world), Console(highlight=False, markup=False), once=once, json=json)
    return 0


def command_explain(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Its id, e.g. s-0042.")], world: WorldOption = None
) -> int:
    """Tell why a storage server is in or out of service, from its own trace.

    Example: cellwall explain s-0042
    """
    watching.explain(registry.find(world), server, Console(soft_wrap=True, highlight=False, markup=False))
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "up": command_up,
    "env": command_env,
    "watch": command_watch,
    "explain": command_explain,
    "cut": command_cut,
    "pause": command_pause,
    "grow": command_grow,
    "resume": command_resume,
    "limit-cpu": command_limit_cpu,
    "weight": command_weight,
    "grow-indexes": command_grow_indexes,
}


def add_to(app: typer.Typer) -> None:
    for name, command in COMMANDS.items():
        app.command(name=name)(command)


def _call(world: str | None, verb: Any, passes_s: float = 0.0) -> Any:
    return registry.client(registry.find(world), CALL_S + passes_s).call(verb)


def _step(name: str, result: verbs.StepResult) -> int:
    reason = f": {result.reason}" if result.reason else ""
    _say(f"{name}: {result.outcome} after {result.took_s:.1f} s{reason}")
    return STATUS[result.outcome]


def _say(text: str) -> None:
    print(text, flush=True)

"""Looks at a running world: snapshots, a live view, a server's story.

Decides how often it looks and what is said when the world does not answer; changes nothing. Invariant: no look
waits longer than LOOK_S, whatever starves.
"""

from __future__ import annotations

import difflib
import time
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cellwall.errors import CellwallError, Refused, Unavailable

from .. import verbs
from . import registry, story, view
from .registry import Entry

LOOK_S = 5.0  # five times what the world itself waits for a service (`backends.fleet_watch`)
EVERY_S = 1.0


def fleet(entry: Entry) -> verbs.FleetState:
    state: verbs.FleetState = registry.client(entry, LOOK_S).call(verbs.Fleet())
    return state


def watch(entry: Entry, console: Console, *, once: bool, json: bool) -> None:
    """Until Ctrl-C or the end of the world; ``once`` and ``json``: one snapshot. Where there is no terminal a line a
    second."""
    if json:
        print(msgspec.json.encode(fleet(entry)).decode(), flush=True)
        return
    if once:
        print(view.text(fleet(entry)), flush=True)
        return
    try:
        _live(entry, console)
    except KeyboardInterrupt:
        return
    console.print(f"world {entry.name} has ended")


def explain(entry: Entry, server: str, console: Console) -> None:
    state = fleet(entry)
    known = {view.id: view for view in state.servers}
    if server not in known:
        raise Refused(f"explain: no server {server!r}; {_suggestion(server, list(known))}")
    trace: Any = registry.client(entry, LOOK_S).call(verbs.Trace(server=server))
    for line in story.story(known[server], state, trace):
        console.print(line)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in story.COLUMNS:
        table.add_column(column, no_wrap=True)
    for row in story.rows(trace):
        table.add_row(*row)
    console.print()
    console.print(table)


def _live(entry: Entry, console: Console) -> None:
    """Show the world until it is gone."""
    if not console.is_terminal:
        while (shown := _look(entry)) is not None:
            print(shown if isinstance(shown, str) else view.headline(shown), flush=True)
            time.sleep(EVERY_S)
        return
    with Live(console=console, auto_refresh=False) as live:
        while (shown := _look(entry)) is not None:
            live.update(Text(shown) if isinstance(shown, str) else view.table(shown), refresh=True)
            time.sleep(EVERY_S)


def _look(entry: Entry) -> verbs.FleetState | str | None:
    """The world's state, why it did not tell it, or None: it is gone."""
    try:
        return fleet(entry)
    except Unavailable:
        return None
    except CellwallError as error:
        alive = any(world.name == entry.name for world in registry.running())
        return f"{entry.name}: {view.NO_ANSWER} ({error})" if alive else None


def _suggestion(server: str, known: list[str]) -> str:
    number = server.rpartition("-")[2]
    if number.isdecimal():
        meant = f"s-{int(number):04d}"
        return f"did you mean {meant}?" if meant in known else f"there are {known[0]} to {known[-1]}"
    near = difflib.get_close_matches(server, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {known[0]} to {known[-1]}"

"""A running world as text: what `cellwall watch` shows.

Decides which figures are shown and in which words; asks nobody. Where a service did not answer it says so, and
never shows a figure of a better time.
"""

from __future__ import annotations

from typing import Any

from rich.table import Table

from ..backends.fleet_view import WINDOW_S
from ..verbs import CellView, FleetState

NO_ANSWER = "no answer"
STUCK_RATIO = 0.3  # as `verbs.Wait` (stuck)
NAMED = 3  # servers of a list that are named
THIN_RATIO = 0.7  # guess: of the time limit; healthy traffic of the reference set takes half of it


def condition(state: FleetState) -> str:
    """One word for how the world does, from what is seen and not from what was done to it."""
    out = state.window.servers_out / max(1, state.window.servers)
    if any(fault.fault == "cut" for fault in state.faults):
        return "cut"
    if any(cell.paused for cell in state.cells.values()):
        return "paused"
    if out > STUCK_RATIO:
        return "stuck"
    if state.window.servers_out:
        return "hurt"
    return "healthy"


def headline(state: FleetState) -> str:
    w = state.window
    rate = f"{w.requests / WINDOW_S:.0f}"
    return (
        f"{state.name}: {condition(state)}  phase {state.phase or '-'}  "
        f"servers out {_percent(w.servers_out, w.servers)} ({w.servers_out} of {w.servers})  "
        f"customers' errors {_percent(w.requests_failed, w.requests)} of {rate}/s"
    )


def cells(state: FleetState) -> list[list[str]]:
    """A row per cell, in the order of COLUMNS."""
    rows = []
    for name, cell in sorted(state.cells.items(), key=lambda item: (len(item[0]), item[0])):
        mine = [server for server in state.servers if server.cell == name]
        rows.append(
            [
                name + (" (paused)" if cell.paused else ""),
                str(sum(server.state == "in" for server in mine)),
                str(sum(server.state == "out" for server in mine)),
                str(sum(server.state == "cut" for server in mine)),
                str(cell.queue),
                f"{cell.oldest_s:.1f} s",
                f"{cell.largest_records:,}",
                headroom(cell, state.time_limit_s),
                str(cell.nodes),
                f"{cell.limit_cores:.2f}",
            ]
        )
    return rows


COLUMNS = ("cell", "in", "out", "cut", "queue", "oldest", "largest", "retrieved in", "nodes", "cores")


def headroom(cell: CellView, time_limit_s: float) -> str:
    """The slowest retrieval of a large membership against the time limit: what is left is the headroom."""
    took_s = cell.largest_retrieval_s
    if took_s is None:
        return "nobody got one" if cell.answered else NO_ANSWER
    return f"{took_s:.2f} of {time_limit_s:g} s" + (" (thin)" if took_s > THIN_RATIO * time_limit_s else "")


def notes(state: FleetState) -> list[str]:
    """What is on: faults with their expiry, weights, tables that wait."""
    found = []
    for fault in state.faults:
        ends = "" if fault.off_s is None else f", ends in {max(0.0, fault.off_s - state.now_s):.0f} s"
        found.append(f"fault {fault.id}: {fault.fault} of {fault.targets} servers{ends}")
    for name, cell in sorted(state.cells.items()):
        for partition, percent in sorted(cell.weights.items()):
            found.append(f"weight: {name}, metadata partition {partition}: {percent:g} %")
    return found + [in_flight(table, state.now_s) for table in state.tables_in_flight]


def in_flight(table: dict[str, Any], now_s: float) -> str:
    """A change of a table that is under way, and what it waits for."""
    index = f" {table['index']}" if table.get("index") else ""
    late = table.get("servers") or []
    names = ", ".join(late[:NAMED]) + (", …" if len(late) > NAMED else "")
    waits = f", {len(late)} servers have not confirmed: {names}" if late else ""
    trouble = f"; {table['trouble']}" if table.get("trouble") else ""
    return (
        f"table {table.get('customer', '?')}/{table.get('table', '?')}: {table.get('state', '?')}{index} for "
        f"{max(0.0, now_s - table.get('since_s', now_s)):.0f} s, at {table.get('step', '?')}{waits}{trouble}"
    )


def text(state: FleetState) -> str:
    """A snapshot in lines."""
    rows = [list(COLUMNS), *cells(state)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([headline(state), *lines, *notes(state)])


def table(state: FleetState) -> Table:
    """The same for a terminal."""
    grid = Table.grid()
    grid.add_row(headline(state), style={"healthy": "green", "stuck": "red", "paused": "yellow"}.get(condition(state)))
    inner = Table(box=None, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        inner.add_column(column, no_wrap=True)
    for row in cells(state):
        inner.add_row(*row)
    grid.add_row(inner)
    for line in notes(state):
        grid.add_row(line)
    return grid


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "- %"

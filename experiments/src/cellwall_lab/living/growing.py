"""Follows the growth of indexes from outside: memberships before, on the way and after.

Decides what is told of it; the growing is the world's verb. Ctrl-C ends the telling, not the growing: an index that
a table was asked to have is made by the front end, whoever watches.
"""

from __future__ import annotations

import threading
from statistics import median

from rich.console import Console

from cellwall.errors import CellwallError, Unknown

from .. import verbs
from . import registry
from .registry import Entry
from .watching import fleet

LINE_EVERY_S = 2.0
BEYOND_S = 30.0  # guess: from the verb's own deadline until its answer is here


def follow(entry: Entry, verb: verbs.GrowIndexes, console: Console) -> verbs.StepResult:
    """Ask the world to grow and tell how it goes until it answers."""
    console.print(f"before: {sizes(fleet(entry))}")
    answers: list[verbs.StepResult | BaseException] = []
    asking = threading.Thread(target=_ask, args=(entry, verb, answers), daemon=True)
    asking.start()
    while asking.is_alive():
        asking.join(LINE_EVERY_S)
        if asking.is_alive():
            console.print(_progress(entry))
    (answer,) = answers
    if isinstance(answer, BaseException):
        raise answer
    console.print(f"after:  {sizes(fleet(entry))}")
    return answer


def sizes(state: verbs.FleetState) -> str:
    """The fleet's memberships in one line, as last delivered."""
    records = sorted(server.records for server in state.servers)
    cells = ", ".join(
        f"{name} {cell.largest_records:,}"
        for name, cell in sorted(state.cells.items(), key=lambda c: (len(c[0]), c[0]))
    )
    return f"memberships of {records[0]:,} to {records[-1]:,} records, median {median(records):,.0f}; largest: {cells}"


def _ask(entry: Entry, verb: verbs.GrowIndexes, answers: list[verbs.StepResult | BaseException]) -> None:
    try:
        answers.append(registry.client(entry, verb.deadline_s + BEYOND_S).call(verb))
    except CellwallError as error:
        answers.append(error)
    except BaseException as error:
        answers.append(Unknown(f"grow-indexes: {error!r}"))


def _progress(entry: Entry) -> str:
    try:
        state = fleet(entry)
    except CellwallError as error:
        return f"no answer ({error})"
    waiting = len(state.tables_in_flight)
    return f"{f'{waiting} tables in flight' if waiting else 'growing'}; {sizes(state)}"

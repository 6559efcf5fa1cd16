"""How moves are seen from a service's view: who may take part, and at which address.

Decides nothing of moves (that is `moves`), only what of the view matters to them.
"""

from __future__ import annotations

import msgspec

from ..actions import Action, GroupStep
from . import cell as cells
from .moves import Outcome, Situation, next_step
from .view import View


def outcome(view: View, next_version: int, now_s: float) -> Outcome | None:
    """What is due; None before servers are let in, and where there is no world to go by."""
    if not view.published.let_in or view.published.map is None or view.land is None or view.spec is None:
        return None
    move = view.published.moving.move
    situation = Situation(
        asked=view.asked,
        cell_of=view.land.cell_of,
        records=view.land.sizes,
        servers=view.land.members,
        able=frozenset(one.number for one in view.cells if one.open and one.serving and one.store_ready),
        followed=move is not None and view.follow(move.version),
        next_version=next_version,
        told={one.number: view.told[one.name] for one in view.cells if one.name in view.told},
        time_limit_s=view.spec.renewal.time_limit_seconds,
    )
    return next_step(situation, view.published.moving, now_s)


def steps(view: View, due: Outcome) -> list[Action]:
    """A cell that nobody serves is asked nothing; its own status says so."""
    serving = {one.number: one for one in view.cells if one.serving}
    out: list[Action] = []
    for step in due.steps:
        one, request = serving.get(step.cell), step.request
        if step.verb == "fetch" and due.moving.move is not None:
            source = serving.get(due.moving.move.source)
            if source is None:
                continue
            request = msgspec.structs.replace(request, source=cells.address(source.serving[0]))
        if one is not None:
            out.append(GroupStep(one.name, cells.address(one.serving[0]), step.verb, request, step.timeout_s))
    return out

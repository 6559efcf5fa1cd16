"""The plan for one metadata service, its cells and its fleet: the operator's one decision.

Decides nothing itself, but which parts there are and when to look again. Same input, same plan.
"""

from __future__ import annotations

from ..actions import Action, Ask, Plan
from ..objects import Observed
from . import cell, fleet, migration, publish, service, statuses
from .fleet import IN_SHARE
from .view import View, view

# How often processes are asked (cluster contract); while a re-entry waits for its followers, as often as may help.
HOSTS_S, HOSTS_UNTIL_WELL_S, HOSTS_RESUMING_S, NODES_S = 15.0, 5.0, 1.0, 15.0


def plan(observed: Observed, now_s: float) -> Plan:
    """What is to be done now about everything that was observed. Without a service nothing is made, and what is there
    runs on; a service that is going takes everything along by its owner references."""
    if observed.service is not None and observed.service.deleting:
        return Plan()
    seen = view(observed)
    tracks: dict[str, list[Action]] = {}
    due_s: list[float] = []
    if seen.service is not None and seen.spec is not None:
        for one in seen.cells:
            tracks.update(cell.tracks(seen, one, now_s))
            due_s += cell.look_again_s(seen, one, now_s)
        tracks.update(publish.tracks(seen, now_s))
        moves = publish.moves_due(seen, now_s)
        tracks["moves"] = [] if moves is None else migration.steps(seen, moves)
        tracks.update(service.tracks(seen))
        tracks.update(fleet.tracks(seen))
        due_s += publish.look_again_s(seen, now_s)
    told = statuses.tracks(seen, now_s)
    if "map" in tracks:  # the status that names a version comes before the map that has it
        tracks["map"] = [*told.pop("service/status", ()), *tracks["map"]]
    tracks.update(told)
    return Plan(
        tracks={name: tuple(actions) for name, actions in tracks.items() if actions},
        look_again_s=min(due_s, default=None),
        ask=_ask(seen) if seen.service is not None and seen.land is not None else None,
    )


def _ask(seen: View) -> Ask:
    move = seen.published.moving.move
    if seen.published.resuming or (move is not None and move.version and not move.acknowledged_s):
        return Ask(HOSTS_RESUMING_S, NODES_S)
    assert seen.land is not None
    well = seen.servers_in >= IN_SHARE * len(seen.land.servers)
    return Ask(HOSTS_S if well else HOSTS_UNTIL_WELL_S, NODES_S)

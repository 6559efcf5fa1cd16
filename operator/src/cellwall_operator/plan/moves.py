"""Which placement group moves to which cell, and the next deed of the one move that is on.

Decides from how many cells are asked for, who serves which group by the published map, what is remembered on it and
what the two cells of a move told. Everything that must be known to go on after a crash is in `Moving`, and is written
in one write with the map, before anything is done that it announces; that write fails if the object has changed.
Invariants: one move at a time; a new goal is made of the last one, so cells come and go one by one as `cells.resize`
says (I7) whatever was interrupted; a move that nobody wants any more is taken back as long as the map does not show it,
and is finished otherwise; none begins while one of its cells is paused or cannot answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cellwall.cells import resize
from cellwall.errors import Refused
from cellwall.model import ServerId
from cellwall.moves import (
    Abandon,
    Acknowledged,
    Ask,
    Copy,
    Move,
    Over,
    Publish,
    Request,
    Stuck,
    Verb,
    Wait,
    following,
    next_group,
)

from ..manifests.cellmap import Moving
from ..objects import Told

AGAIN_S = 5.0  # between attempts at a step, as between attempts to join (cluster contract)
FRESH_S = 5.0  # what a cell told longer ago is asked again before anything follows from it (guess)
DRAIN_SLACK_S = 1.0  # hosts look at their clocks, and we at ours


class Situation(msgspec.Struct, frozen=True):
    """``asked``: number of cells. ``cell_of``, ``records``, ``servers``: by placement group; ``cell_of`` is the
    map's. ``able``: cells whose nodes serve and whose door is open. ``followed``: every follower has the version that
    the move needs. ``next_version``: of a map that would be published now. ``told``: by cell number."""

    asked: int
    cell_of: Sequence[int]
    records: Sequence[int]
    servers: Sequence[Sequence[ServerId]]
    able: frozenset[int]
    followed: bool
    next_version: int
    told: Mapping[int, Told]
    time_limit_s: float


class StepWanted(msgspec.Struct, frozen=True):
    """Ask a node of the cell for a step. Of a ``fetch``, whoever knows addresses fills in the request's source."""

    cell: int
    verb: Verb
    request: Request
    timeout_s: float


class Outcome(msgspec.Struct, frozen=True):
    """``moving`` is to be remembered, and ``entries`` (server: cell number, metadata partition) are the map's, in one
    write. ``steps`` are those of the move that is remembered already. ``doing``: "" if nothing moves."""

    moving: Moving
    entries: Mapping[ServerId, tuple[int, int]] = {}
    steps: tuple[StepWanted, ...] = ()
    doing: str = ""
    trouble: str = ""
    look_again_s: float | None = None


def cells_needed(asked: int, cell_of: Sequence[int], moving: Moving) -> int:
    """How many cells must be there: those asked for, and those that still serve a group or are about to."""
    on = [] if moving.move is None else [moving.move.source, moving.move.target]
    return max([asked, *(number + 1 for number in (*cell_of, *moving.goal, *on))])


def cpu_share(asked: int, cell_of: Sequence[int], moving: Moving) -> int:
    """Among how many cells the service's CPU is shared; `Moving.share` before it is written."""
    return moving.share or min(asked, len(set(cell_of)))


def next_step(seen: Situation, moving: Moving, now_s: float) -> Outcome:
    """What is due now. ``moving`` is what is remembered, as read."""
    try:
        moving = _goal(seen, moving)
    except Refused as error:
        return Outcome(moving, trouble=str(error))
    if moving.move is None:
        return _begin(seen, moving)
    return _go_on(seen, moving, moving.move, now_s)


def _goal(seen: Situation, moving: Moving) -> Moving:
    """Made of the last goal, not of what has been reached of it: a cell that was being filled is not a full one."""
    goal = list(moving.goal or seen.cell_of)
    share = moving.share or len(set(goal))
    if len(set(goal)) != seen.asked:
        goal = resize(goal, seen.records, seen.asked)
    if goal == list(seen.cell_of):
        return msgspec.structs.replace(moving, goal=[], share=0)
    # A cell has less to do only when its groups have left: until then it keeps the larger share.
    return msgspec.structs.replace(moving, goal=goal, share=min(share, seen.asked))


def _begin(seen: Situation, moving: Moving) -> Outcome:
    able = [
        there if {here, there} <= seen.able else here
        for here, there in zip(seen.cell_of, moving.goal or seen.cell_of, strict=True)
    ]
    group = next_group(seen.cell_of, able, seen.records)
    if group is None:
        return Outcome(
            moving, doing=f"{_left(seen, moving)} placement groups wait for their cells" if moving.goal else ""
        )
    move = Move(moving.number + 1, group, seen.cell_of[group], able[group])
    begun = msgspec.structs.replace(moving, number=move.number, move=move)
    return Outcome(begun, doing=_doing(seen, begun, move))


def _go_on(seen: Situation, moving: Moving, move: Move, now_s: float) -> Outcome:
    def outcome(then: Move | None = move, **more: Any) -> Outcome:
        return Outcome(msgspec.structs.replace(moving, move=then), doing=_doing(seen, moving, move), **more)

    if not move.version and not move.abandoned and (moving.goal or seen.cell_of)[move.group] != move.target:
        return outcome(msgspec.structs.replace(move, abandoned=True))
    if move.version and not move.acknowledged_s and not seen.followed:
        return outcome()
    drain_s = seen.time_limit_s + DRAIN_SLACK_S
    if move.acknowledged_s and (left_s := move.acknowledged_s + drain_s - now_s) > 0:
        return outcome(look_again_s=left_s)
    asked = [_asked(seen, move, cell, now_s) for cell in (move.source, move.target)]
    if any(asked):
        waits = [one for one in asked if one is not None]
        steps = tuple(step for one in waits for step in one.steps)
        again_s = min((one.look_again_s for one in waits if one.look_again_s is not None), default=None)
        trouble = "; ".join(one.trouble for one in waits if one.trouble)
        return outcome(steps=steps, trouble=trouble, look_again_s=again_s)
    source, target = seen.told[move.source].holding, seen.told[move.target].holding
    assert source is not None and target is not None
    used = max(source.over, target.over)
    if used >= move.number and not (move.version or move.abandoned):
        # Numbers rise, but whoever deleted the map by hand deleted the last one.
        anew = Move(used + 1, move.group, move.source, move.target)
        return Outcome(msgspec.structs.replace(moving, number=anew.number, move=anew), doing=_doing(seen, moving, anew))
    step = following(move, source, target, acknowledged=seen.followed, now_s=now_s, drain_s=drain_s)
    match step:
        case Ask(side, verb):
            cell = move.source if side == "source" else move.target
            held = target.copies if verb == "drop" else {}
            return outcome(steps=(_step(seen, move, cell, verb, held),))
        case Publish(partitions):
            if move.target not in seen.able:
                return outcome(trouble=f"cell-{move.target}: its door is not open")
            entries = {server: (move.target, partition) for server, partition in partitions.items()}
            return outcome(msgspec.structs.replace(move, version=seen.next_version), entries=entries)
        case Acknowledged():
            return outcome(msgspec.structs.replace(move, acknowledged_s=now_s))
        case Abandon():
            return outcome(msgspec.structs.replace(move, abandoned=True))
        case Wait(_, for_s):
            return outcome(look_again_s=for_s or None)
        case Stuck(reason):
            return outcome(trouble=f"move {move.number} of placement group {move.group}: {reason}")
        case Over():
            return outcome(None)


class _Asked(msgspec.Struct, frozen=True):
    """Why nothing can follow yet from what a cell told."""

    steps: tuple[StepWanted, ...] = ()
    trouble: str = ""
    look_again_s: float | None = None


def _asked(seen: Situation, move: Move, cell: int, now_s: float) -> _Asked | None:
    """None: what it told is fresh."""
    told = seen.told.get(cell)
    if told is None or told.move != move.number:
        return _Asked((_step(seen, move, cell, "look", {}),))
    trouble = f"cell-{cell}: {told.trouble}" if told.trouble else ""
    if told.running:
        return _Asked(trouble=trouble)
    if told.trouble and (left_s := told.trouble_s + AGAIN_S - now_s) > 0:
        return _Asked(trouble=trouble, look_again_s=left_s)
    if told.holding is None or now_s - told.at_s > FRESH_S or told.at_s < told.trouble_s:
        return _Asked((_step(seen, move, cell, "look", {}),), trouble)
    return None


def _step(seen: Situation, move: Move, cell: int, verb: Verb, held: Mapping[ServerId, Copy]) -> StepWanted:
    """One deadline, twice the time limit, as of every administrative request; a fetch makes one for each server."""
    servers, deadline_s = list(seen.servers[move.group]), 2 * seen.time_limit_s
    requests = len(servers) + 4 if verb == "fetch" else 1
    request = Request(move.number, servers, deadline_s=deadline_s, held=dict(held))
    return StepWanted(cell, verb, request, requests * deadline_s)


def _left(seen: Situation, moving: Moving) -> int:
    return sum(a != b for a, b in zip(seen.cell_of, moving.goal or seen.cell_of, strict=True))


def _doing(seen: Situation, moving: Moving, move: Move) -> str:
    """Where the move is, in a few words: it is written to a status, so it changes three times a move and no oftener."""
    if move.version and not move.acknowledged_s:
        what = f"waits until all storage pods have map version {move.version}"
    else:
        what = "is handed over" if move.version else "is taken back" if move.abandoned else "is copied"
    left = _left(seen, moving) - (seen.cell_of[move.group] != (moving.goal or seen.cell_of)[move.group])
    more = f"; {left} more to move" if left else ""
    return f"placement group {move.group} moves from cell-{move.source} to cell-{move.target}: it {what}{more}"

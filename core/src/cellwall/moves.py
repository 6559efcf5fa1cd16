"""How a placement group changes cells while its servers go on renewing: what each cell may do, and what comes next.

    source   owned ─ freeze ─► leaving ────────────────────────────────────── drop ─► absent
    target   absent ─ fetch ─► arriving ─ (whole) ─► ready ──────────────────────────── settle ─► owned
    map                                               └ publish ─ all acknowledge ─ drain ┘

Decides from what both cells say (`Holding`) and what is remembered (`Move`) the next step, and for a cell whether it
may take it; never asks, waits or writes. Any step may be repeated, delayed or lost, and whoever directs the move may
die at any moment: the next step follows from what is seen, not from what was done.

Invariants (I15). Every server has exactly one owner: the cell that may change its list. That is the source until it has
dropped the group and the target from then on. In between nothing changes at all: a cell that is ``leaving`` or
``ready`` refuses changes of its servers' tables *and their confirmations*, so whichever of the two a follower asks, it
hears the same list. (A confirmation taken by the source after the copy was made would be forgotten; a server that then
lost its disk would be told to create empty what it must replicate, and an acknowledged write could be lost, I6. A
confirmation that is refused is made again with the next renewal.) A cell answers renewals from ``ready`` on, so the map
never names one that does not; the source drops only after every follower has acknowledged the map and every renewal
that was under way by then has ended, one time limit later; and only if the target holds the very same epochs.

Moves are numbered and numbers rise. What a cell has once ended (dropped, settled, given up) is over there, and every
message of that move or an older one is refused: a request that was lost in a queue cannot freeze a group again that
nobody will thaw. Hence one move at a time in a service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from .errors import Refused
from .model import ServerId

Phase = Literal["absent", "owned", "leaving", "arriving", "ready", "mixed"]
Verb = Literal["look", "freeze", "unfreeze", "fetch", "forget", "drop", "settle"]
Side = Literal["source", "target"]

# ---------------------------------------------------------------- what is said (bodies of /groups/…)


class Copy(msgspec.Struct, frozen=True):
    """What a cell holds of one server. ``move``: that its phase belongs to; ``partition``: its metadata partition."""

    phase: Phase = "absent"
    move: int = 0
    epoch: int = 0
    confirmed: int = 0
    count: int = 0
    partition: int = 0

    def same_list(self, other: Copy) -> bool:
        return (self.epoch, self.confirmed, self.count) == (other.epoch, other.confirmed, other.count)


class Holding(msgspec.Struct, frozen=True):
    """What a cell holds of a group. ``over``: the last move of any group that is over in this cell."""

    over: int
    copies: dict[ServerId, Copy]

    @property
    def phase(self) -> Phase:
        """That of all servers in the youngest move; what an older one has left of a server counts as nothing.
        ``arriving`` while some are still absent; ``mixed`` is nothing that a step leaves."""
        young = self.move
        phases = {copy.phase if copy.move in (0, young) else "absent" for copy in self.copies.values()}
        if len(phases) == 1:
            return phases.pop()
        return "arriving" if phases == {"absent", "arriving"} else "mixed"

    @property
    def move(self) -> int:
        """The youngest move that left a mark."""
        return max((copy.move for copy in self.copies.values()), default=0)


class Request(msgspec.Struct, frozen=True):
    """One step of a move, asked of one cell. ``source`` (fetch): an admin address of the source, each of whose answers
    may take ``deadline_s``. ``held`` (drop): what the target holds."""

    move: int
    servers: list[ServerId]
    source: str = ""
    deadline_s: float = 0.0
    held: dict[ServerId, Copy] = {}


# ---------------------------------------------------------------- what a cell may do


def after(holding: Holding, verb: Verb, move: int) -> Phase:
    """The phase that a step brings, which may be the one there is: it was taken before. Refused if it may not be.

    ``fetch`` brings copies in and ends in "ready". What an older move left behind unfinished, in a cell that never
    became the owner or is none any more, makes room for a younger one.
    """
    phase, mine, fresh = holding.phase, holding.move == move, holding.over < move
    older = holding.move < move
    match verb, phase:
        case "look", _:
            return phase
        case "freeze", "owned" if fresh:
            return "leaving"
        case "freeze", "leaving" if fresh and (mine or older):
            return "leaving"
        case "unfreeze", "owned":
            return "owned"
        case "unfreeze", "leaving" if mine:
            return "owned"
        case "fetch", "ready" if mine:
            return "ready"
        case "fetch", "absent" | "arriving" if fresh and (mine or older):
            return "ready"
        case "fetch", "leaving" | "ready" if fresh and older:
            return "ready"
        case "forget", "absent":
            return "absent"
        case "forget", "arriving" | "ready" if mine or older:
            return "absent"
        case "forget", "leaving" if older:
            return "absent"
        case "drop", "absent":
            return "absent"
        case "drop", "leaving" if mine:
            return "absent"
        case "settle", "owned":
            return "owned"
        case "settle", "ready" if mine:
            return "owned"
    of = f" for move {holding.move}" if holding.move else ""
    raise Refused(f"{verb} of move {move} is not allowed: the group is {phase}{of}, move {holding.over} is over here")


def may_drop(source: Holding, held: Mapping[ServerId, Copy]) -> bool:
    """Whether the target has all that the source holds. One that has settled has had it, and may have changed it."""
    for server, copy in source.copies.items():
        there = held.get(server, Copy())
        if there.phase != "owned" and not (there.phase == "ready" and there.same_list(copy)):
            return False
    return True


ENDS: frozenset[Verb] = frozenset(("unfreeze", "forget", "drop", "settle"))  # after these the move is over in the cell


# ---------------------------------------------------------------- what comes next


class Move(msgspec.Struct, frozen=True, omit_defaults=True):
    """What whoever directs a move must remember, before it acts. ``version``: of the map that names the target, 0
    before. ``acknowledged_s``: when all followers were seen to have it. ``abandoned``: it shall be taken back."""

    number: int
    group: int
    source: int  # cell numbers
    target: int
    version: int = 0
    acknowledged_s: float = 0.0
    abandoned: bool = False


class Ask(msgspec.Struct, frozen=True):
    """A step for one of the two cells."""

    side: Side
    verb: Verb


class Publish(msgspec.Struct, frozen=True):
    """A map in which the group belongs to the target, each server in its metadata partition there. Together with it,
    in one write, the version is to be remembered; and the write must fail if the move was abandoned meanwhile."""

    partitions: dict[ServerId, int]


class Acknowledged(msgspec.Struct, frozen=True):
    """To be remembered: all followers have the map now."""


class Wait(msgspec.Struct, frozen=True):
    reason: str
    for_s: float = 0.0  # 0: until something is seen


class Abandon(msgspec.Struct, frozen=True):
    """To be remembered: the move shall be taken back, before the map names the target. A new one may be begun."""

    reason: str


class Over(msgspec.Struct, frozen=True):
    """Nothing is left to do, and the move is to be forgotten."""


class Stuck(msgspec.Struct, frozen=True):
    """Nothing that is safe can be done; somebody must look."""

    reason: str


Step: TypeAlias = Ask | Publish | Acknowledged | Wait | Abandon | Over | Stuck


def following(
    move: Move, source: Holding | None, target: Holding | None, *, acknowledged: bool, now_s: float, drain_s: float
) -> Step:
    """The next step of a move. None: that cell does not answer. ``acknowledged``: every follower that runs has a map
    of ``move.version`` or later; ``drain_s``: the longest that a renewal can be under way."""
    if source is None or target is None:
        return Wait(f"cell {move.source if source is None else move.target} does not answer")
    if move.version:
        return _behind(move, source, target, acknowledged=acknowledged, now_s=now_s, drain_s=drain_s)
    return _back(move, source, target) if move.abandoned else _ahead(move, source, target)


def _ahead(move: Move, source: Holding, target: Holding) -> Step:
    """Before the map names the target."""
    if target.phase in ("owned", "mixed"):
        return Stuck(f"cell {move.target} should not hold the group yet; it is {_said(target)}")
    if source.phase == "owned":
        # A store that lost its last second may have forgotten the freeze and taken changes since the copy was made.
        copied = target.phase == "ready" and target.move == move.number
        return Abandon(f"cell {move.source} is not frozen any more") if copied else Ask("source", "freeze")
    if source.phase != "leaving" or source.move != move.number:
        return Stuck(f"cell {move.source} should hold the group for the move; it is {_said(source)}")
    if target.phase == "ready" and target.move == move.number:
        if not may_drop(source, target.copies):
            return Abandon(f"cells {move.source} and {move.target} do not hold the same lists")
        return Publish({server: copy.partition for server, copy in target.copies.items()})
    return Ask("target", "fetch")


def _back(move: Move, source: Holding, target: Holding) -> Step:
    """Abandoned. The target forgets first: two cells that answer must say the same."""
    if target.over < move.number:
        return Ask("target", "forget")
    if source.over < move.number:
        return Ask("source", "unfreeze")
    return Over()


def _behind(move: Move, source: Holding, target: Holding, *, acknowledged: bool, now_s: float, drain_s: float) -> Step:
    """After the map has named the target: there is no way back."""
    if source.phase == "absent":
        if target.phase == "ready" and target.move == move.number:
            return Ask("target", "settle")
        if target.phase == "owned":
            return Over()
        return Stuck(
            f"cell {move.target} should own the group; it is {_said(target)}, and {move.source} has none of it"
        )
    if source.phase == "owned" and source.over < move.number:
        return Ask("source", "freeze")  # its store has lost that; changes go by the map, so there were none
    if source.phase != "leaving" or source.move != move.number:
        return Stuck(f"cell {move.source} should hold the group for the move; it is {_said(source)}")
    if target.phase in ("absent", "arriving"):
        return Ask("target", "fetch")  # its store has lost what it had: the source has not
    if target.phase == "owned":
        return Ask("source", "drop")  # again: the target settled after the first time, and may have changed since
    if target.phase == "mixed" or not may_drop(source, target.copies):
        return Stuck(f"cells {move.source} and {move.target} do not hold the same lists")
    if not move.acknowledged_s:
        return Acknowledged() if acknowledged else Wait(f"not every follower has map version {move.version}")
    left_s = move.acknowledged_s + drain_s - now_s
    return Wait("renewals under way", left_s) if left_s > 0 else Ask("source", "drop")


def _said(holding: Holding) -> str:
    return f"{holding.phase} (move {holding.move})" if holding.move else holding.phase


# ---------------------------------------------------------------- which group is next


def next_group(cell_of: Sequence[int], goal: Sequence[int], records: Sequence[int]) -> int | None:
    """The group to move next so that ``cell_of`` becomes ``goal``: the one with most records, which says soonest
    whether the target can carry it; None if none is left."""
    pending = [g for g, (here, there) in enumerate(zip(cell_of, goal, strict=True)) if here != there]
    return max(pending, key=lambda g: (records[g], -g), default=None)

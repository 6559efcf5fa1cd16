"""Metadata cells as far as moves go: which phase each placement group is in, in each cell. All else is honest: what a
cell allows is `cellwall.moves`'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from cellwall.errors import Refused
from cellwall.moves import ENDS, Copy, Holding, Request, Verb, after, may_drop
from cellwall_operator.objects import Told


class Stores:
    """``members``: the servers of each group; ``cell_of``: who serves it to begin with."""

    def __init__(self, members: Sequence[Sequence[str]], cell_of: Sequence[int]) -> None:
        self.members = [list(servers) for servers in members]
        self.over: defaultdict[int, int] = defaultdict(int)
        self.copies: defaultdict[tuple[int, int], Copy] = defaultdict(Copy)  # by cell and group
        for group, cell in enumerate(cell_of):
            self.copies[cell, group] = Copy("owned", 0, 1, 1, 9)

    def holding(self, cell: int, group: int) -> Holding:
        return Holding(self.over[cell], dict.fromkeys(self.members[group], self.copies[cell, group]))

    def phases(self, group: int) -> dict[int, str]:
        """By cell, of those that know it."""
        return {cell: copy.phase for (cell, g), copy in self.copies.items() if g == group and copy.phase != "absent"}

    def take(self, cell: int, source: int, verb: Verb, request: Request) -> str:
        """Take a step; why not, if it is refused."""
        group = self.members.index(request.servers)
        holding = self.holding(cell, group)
        try:
            phase = after(holding, verb, request.move)
            if verb == "drop" and phase != holding.phase and not may_drop(holding, request.held):
                raise Refused("the target does not hold the same lists")
            if verb == "fetch" and phase != holding.phase and self.copies[source, group].phase != "leaving":
                raise Refused("the source is not frozen")
        except Refused as error:
            return str(error)
        if verb != "look":
            there = self.copies[source if verb == "fetch" else cell, group]
            mark = request.move if phase in ("leaving", "ready") else 0
            self.copies[cell, group] = msgspec.structs.replace(there, phase=phase, move=mark)
        if verb in ENDS:
            self.over[cell] = max(self.over[cell], request.move)
        return ""

    def tell(self, before: Told | None, cell: int, source: int, verb: Verb, request: Request, now_s: float) -> Told:
        """As `group_steps` keeps it."""
        trouble = self.take(cell, source, verb, request)
        kept = (trouble, now_s if trouble else 0.0)
        if verb == "look" and not trouble and before is not None and before.move == request.move:
            kept = (before.trouble, before.trouble_s)
        return Told(request.move, self.holding(cell, self.members.index(request.servers)), now_s, *kept)

    def check(self, cell_of: Sequence[int]) -> None:
        """``cell_of``: by the published map."""
        for group, cell in enumerate(cell_of):
            phases = self.phases(group)
            assert sum(phase in ("owned", "leaving") for phase in phases.values()) <= 1, "two owners"
            assert phases.get(cell) in ("owned", "leaving", "ready"), "a cell that does not serve it is named"

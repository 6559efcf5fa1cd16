"""Moves of a group between two cells, in a world where anything is delayed, repeated or lost and two operators act.

The cells here are the dumb twin of the stores' scripts: one dictionary each. Whoever directs, and what a cell allows,
is the real thing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.errors import Refused
from cellwall.moves import (
    ENDS,
    Abandon,
    Acknowledged,
    Ask,
    Copy,
    Holding,
    Move,
    Over,
    Publish,
    Stuck,
    Verb,
    Wait,
    after,
    following,
    next_group,
)

SERVERS = ("s-1", "s-2")
SERVING = ("owned", "leaving", "ready")
DRAIN_S = 3
Work = Iterator[None]  # something under way: one indivisible part at a time


class Cell:
    """A cell as its store has it. ``lists``: what a server is told, beside what `Copy` counts."""

    def __init__(self, phase: Any) -> None:
        self.over = 0
        self.copies = {s: Copy(phase, 0, 1, 0, 5) if phase == "owned" else Copy() for s in SERVERS}
        self.lists = {s: ("first",) if phase == "owned" else () for s in SERVERS}

    def look(self) -> Holding:
        return Holding(self.over, dict(self.copies))

    def step(self, verb: Verb, move: int) -> None:
        phase = after(self.look(), verb, move)
        if verb in ENDS:
            self.over = max(self.over, move)
        for server, copy in self.copies.items():
            mark = move if phase == "leaving" else 0
            self.copies[server] = Copy() if phase == "absent" else msgspec.structs.replace(copy, phase=phase, move=mark)

    def fetch(self, move: int, source: Cell) -> Work:
        """As `handover.fetch`: look, copy server by server, look again, and only then ready."""
        before = source.look()
        if before.phase != "leaving" or before.move != move:
            return
        yield
        for server in SERVERS:
            told, confirmed = source.lists[server], source.copies[server]
            yield
            try:
                after(self.look(), "fetch", move)
            except Refused:
                return
            if self.copies[server].phase != "ready":
                self.copies[server] = msgspec.structs.replace(confirmed, phase="arriving", move=move)
                self.lists[server] = told
            yield
        if source.look() != before:
            return
        yield
        if self.over < move and all((c.phase, c.move) == ("arriving", move) for c in self.copies.values()):
            for server, copy in self.copies.items():
                self.copies[server] = msgspec.structs.replace(copy, phase="ready", move=move)

    def change(self, server: str, word: str) -> bool:
        copy = self.copies[server]
        if copy.phase != "owned":
            return False
        self.copies[server] = msgspec.structs.replace(copy, epoch=copy.epoch + 1, count=copy.count + 1)
        self.lists[server] = (*self.lists[server], word)
        return True

    def confirm(self, server: str, epoch: int) -> bool:
        copy = self.copies[server]
        if copy.phase != "owned":
            return False
        self.copies[server] = msgspec.structs.replace(copy, confirmed=epoch)
        return True


class World:
    """Two cells, the published map with what is remembered on it, two hosts, and everything that is under way."""

    def __init__(self) -> None:
        self.cells = (Cell("owned"), Cell("absent"))
        self.maps = [0]  # by version: the cell of the group
        self.move: Move | None = None
        self.number = 0
        self.writes = 0  # of the map and what is remembered: any write fails that has not seen the last one
        self.hosts = [0, 0]  # each server's host: the version it has
        self.now_s = 0
        self.under_way: list[Work] = []
        self.letters: list[tuple[int, Verb, int]] = []  # every step ever asked: any may come late, or again
        self.renewals: list[tuple[int, int, int]] = []  # server's number, cell, asked at
        self.words = itertools.count()
        self.changes = 0

    # -------------------------------------------------------- whoever directs

    def direct(self, abandon: bool = False) -> Work:
        """One round of an operator; it may fall asleep between seeing and doing, and another one act meanwhile."""
        seen, move, map_cell = self.writes, self.move, self.maps[-1]
        if move is None:
            self.number += 1
            self.write(seen, Move(self.number, 7, map_cell, 1 - map_cell))
            return
        if abandon and not move.version:
            self.write(seen, msgspec.structs.replace(move, abandoned=True))
            return
        source, target = self.cells[move.source], self.cells[move.target]
        held = source.look(), target.look()
        acknowledged = min(self.hosts) >= move.version
        step = following(move, *held, acknowledged=acknowledged, now_s=self.now_s, drain_s=DRAIN_S)
        yield
        match step:
            case Ask(side, verb):
                letter = (move.source if side == "source" else move.target, verb, move.number)
                self.letters.append(letter)
                yield from self.deliver(*letter)
            case Publish():
                self.write(seen, msgspec.structs.replace(move, version=len(self.maps)), move.target)
            case Acknowledged():
                self.write(seen, msgspec.structs.replace(move, acknowledged_s=float(self.now_s)))
            case Abandon():
                self.write(seen, msgspec.structs.replace(move, abandoned=True))
            case Over():
                self.write(seen, None)
            case Stuck(reason):
                raise AssertionError(reason)

    def deliver(self, cell: int, verb: Verb, move: int) -> Work:
        if verb == "fetch":
            yield from self.cells[cell].fetch(move, self.cells[1 - cell])
        else:
            with contextlib.suppress(Refused):
                self.cells[cell].step(verb, move)

    def write(self, seen: int, move: Move | None, map_cell: int | None = None) -> None:
        if seen != self.writes:
            return
        self.writes += 1
        self.move = move
        if map_cell is not None:
            self.maps.append(map_cell)

    # -------------------------------------------------------- everybody else

    def renew(self, number: int) -> None:
        self.renewals.append((number, self.maps[self.hosts[number]], self.now_s))

    def answer(self, which: int) -> None:
        number, cell, _ = self.renewals.pop(which % len(self.renewals))
        copy = self.cells[cell].copies[SERVERS[number]]
        assert copy.phase in SERVING, "a renewal came to a cell that does not know its server"
        if copy.confirmed < copy.epoch:
            self.cells[self.maps[self.hosts[number]]].confirm(SERVERS[number], copy.epoch)

    def tick(self) -> None:
        """Nobody waits for a renewal longer than its time limit."""
        for late in [r for r in self.renewals if r[2] + DRAIN_S <= self.now_s + 1]:
            self.answer(self.renewals.index(late))
        self.now_s += 1

    def step(self, kind: int, which: int) -> None:
        match kind:
            case 0 | 1:
                self.under_way.append(self.direct())
            case 2 if self.letters:
                self.under_way.append(self.deliver(*self.letters[-1 - which % len(self.letters)]))
            case 3:
                self.hosts[which % 2] = min(self.hosts[which % 2] + 1, len(self.maps) - 1)
            case 4:
                self.renew(which % 2)
            case 5 if self.renewals:
                self.answer(which)
            case 6:
                self.tick()
            case 7:  # a front end may have an old map
                version = len(self.maps) - 1 - (which // 2) % 2
                done = self.cells[self.maps[max(0, version)]].change(SERVERS[which % 2], f"w{next(self.words)}")
                self.changes += done
            case 8 if which == 0:
                self.under_way.append(self.direct(abandon=True))
            case 9 if self.under_way:  # whoever did it died
                self.under_way.pop(which % len(self.under_way))
            case _ if self.under_way:
                mine = self.under_way[which % len(self.under_way)]
                if next(mine, "ended") == "ended":
                    self.under_way.remove(mine)
        self.check()

    def check(self) -> None:
        for server in SERVERS:
            copies = [cell.copies[server] for cell in self.cells]
            owners = [c for c in copies if c.phase in ("owned", "leaving")] or [c for c in copies if c.phase == "ready"]
            assert len(owners) == 1, copies
            told = {
                (c.epoch, c.confirmed, c.count, cell.lists[server])
                for cell, c in zip(self.cells, copies, strict=True)
                if c.phase in SERVING
            }
            assert len(told) == 1, "two cells answer, and differ"
        for number, version in enumerate(self.hosts):
            assert self.cells[self.maps[version]].copies[SERVERS[number]].phase in SERVING

    def finish(self) -> None:
        """Nothing goes wrong any more: the move ends."""
        for _ in range(60):
            if self.move is None:
                return
            for _ in self.direct():
                self.check()
            self.hosts = [len(self.maps) - 1] * 2
            self.tick()
            self.check()
        raise AssertionError(f"the move does not end: {self.move}, {[cell.look() for cell in self.cells]}")


@settings(max_examples=100)
@given(st.integers(0))
def test_every_server_has_one_owner_whatever_is_lost_late_or_repeated(seed: int) -> None:
    world, rng = World(), Random(seed)  # as a list of steps the interesting worlds, long ones, would be the rarest
    for _ in range(400):
        world.step(rng.randrange(17), rng.randrange(12))
    world.finish()
    owner = world.cells[world.maps[-1]]
    assert owner.look().phase == "owned"
    assert world.cells[1 - world.maps[-1]].look().phase in ("absent", "arriving"), "an old message may leave a copy"
    assert sum(len(told) - 1 for told in owner.lists.values()) == world.changes, "a change was lost"
    assert all(owner.change(server, "last") and owner.confirm(server, 9) for server in SERVERS)


# ---------------------------------------------------------------- what a cell may do


def holding(phase: Any, move: int = 0, over: int = 0) -> Holding:
    return Holding(over, dict.fromkeys(SERVERS, Copy(phase, move)))


@pytest.mark.parametrize(
    ("verb", "phase", "mark", "over", "then"),
    [
        # move 5 is asked for; the mark is that of the move that left it
        ("freeze", "owned", 0, 4, "leaving"),
        ("freeze", "owned", 0, 5, None),  # it came late: the move was taken back
        ("freeze", "owned", 0, 6, None),
        ("freeze", "leaving", 5, 4, "leaving"),
        ("freeze", "leaving", 3, 2, "leaving"),  # nobody remembers move 3
        ("freeze", "leaving", 6, 4, None),
        ("freeze", "absent", 0, 4, None),
        ("freeze", "ready", 5, 4, None),
        ("unfreeze", "leaving", 5, 4, "owned"),
        ("unfreeze", "leaving", 6, 5, None),
        ("unfreeze", "owned", 0, 5, "owned"),
        ("fetch", "absent", 0, 4, "ready"),
        ("fetch", "absent", 0, 5, None),
        ("fetch", "arriving", 5, 4, "ready"),
        ("fetch", "arriving", 6, 4, None),
        ("fetch", "ready", 5, 4, "ready"),
        ("fetch", "ready", 3, 2, "ready"),
        ("fetch", "leaving", 3, 2, "ready"),  # a store that lost its drop
        ("fetch", "leaving", 5, 4, None),
        ("fetch", "owned", 0, 4, None),
        ("forget", "absent", 0, 4, "absent"),
        ("forget", "arriving", 5, 4, "absent"),
        ("forget", "ready", 5, 4, "absent"),
        ("forget", "ready", 6, 5, None),
        ("forget", "leaving", 3, 2, "absent"),
        ("forget", "leaving", 5, 4, None),
        ("forget", "owned", 0, 5, None),
        ("drop", "leaving", 5, 4, "absent"),
        ("drop", "leaving", 6, 5, None),
        ("drop", "absent", 0, 5, "absent"),
        ("drop", "owned", 0, 4, None),
        ("drop", "ready", 6, 5, None),
        ("settle", "ready", 5, 4, "owned"),
        ("settle", "ready", 7, 5, None),  # the group is back for a third move
        ("settle", "owned", 0, 5, "owned"),
        ("settle", "leaving", 6, 5, None),
        ("settle", "absent", 0, 4, None),
        *((verb, "mixed", 5, 4, None) for verb in ("freeze", "unfreeze", "fetch", "forget", "drop", "settle")),
    ],
)
def test_a_cell_takes_the_steps_of_its_move_and_refuses_late_ones(verb, phase, mark, over, then):
    if then is None:
        with pytest.raises(Refused, match=f"{verb} of move 5 is not allowed: the group is {phase}"):
            after(holding(phase, mark, over), verb, 5)
    else:
        assert after(holding(phase, mark, over), verb, 5) == then


def test_a_group_that_is_here_in_part_is_arriving_or_nothing_that_a_step_leaves():
    copies = {"s-1": Copy("arriving", 5), "s-2": Copy()}
    assert (Holding(4, copies).phase, Holding(4, copies).move) == ("arriving", 5)
    assert Holding(4, copies | {"s-3": Copy("leaving", 3)}).phase == "arriving", "what an older move left is nothing"
    assert Holding(4, copies | {"s-3": Copy("ready", 5)}).phase == "mixed"
    assert Holding(4, {"s-1": Copy("owned"), "s-2": Copy()}).phase == "mixed"


# ---------------------------------------------------------------- what comes next


MOVE = Move(5, 7, 0, 1)
GONE, OWNED, LEAVING = holding("absent"), holding("owned"), holding("leaving", 5)
READY, ARRIVING = holding("ready", 5), holding("arriving", 5)


def comes(move: Move, source: Holding | None, target: Holding | None, now_s: float = 100.0, **more: Any) -> Any:
    return following(move, source, target, acknowledged=more.get("acknowledged", False), now_s=now_s, drain_s=3.0)


def test_a_move_goes_its_way_step_by_step():
    assert comes(MOVE, OWNED, GONE) == Ask("source", "freeze")
    assert comes(MOVE, LEAVING, GONE) == comes(MOVE, LEAVING, ARRIVING) == Ask("target", "fetch")
    assert comes(MOVE, LEAVING, READY) == Publish(dict.fromkeys(SERVERS, 0))
    published = msgspec.structs.replace(MOVE, version=9)
    assert comes(published, LEAVING, READY) == Wait("not every follower has map version 9")
    assert comes(published, LEAVING, READY, acknowledged=True) == Acknowledged()
    drained = msgspec.structs.replace(published, acknowledged_s=100.0)
    assert comes(drained, LEAVING, READY, 101.0) == Wait("renewals under way", 2.0)
    assert comes(drained, LEAVING, READY, 103.0) == Ask("source", "drop")
    assert comes(drained, GONE, READY, 103.0) == Ask("target", "settle")
    assert comes(drained, GONE, OWNED, 103.0) == Over()


def test_it_can_be_taken_back_until_the_map_names_the_target():
    back = msgspec.structs.replace(MOVE, abandoned=True)
    for source in (OWNED, LEAVING):
        for target in (GONE, ARRIVING, READY):
            assert comes(back, source, target) == Ask("target", "forget")
            assert comes(back, source, holding("absent", over=5)) == Ask("source", "unfreeze")
            assert comes(back, holding("owned", over=5), holding("absent", over=5)) == Over()
    late = msgspec.structs.replace(back, version=9, acknowledged_s=1.0)
    assert comes(late, LEAVING, READY) == Ask("source", "drop")


def test_what_a_store_lost_is_made_again_or_told():
    published = msgspec.structs.replace(MOVE, version=9, acknowledged_s=1.0)
    assert comes(published, LEAVING, GONE) == Ask("target", "fetch")
    assert comes(published, OWNED, READY) == Ask("source", "freeze")
    longer = Holding(0, dict.fromkeys(SERVERS, Copy("owned", epoch=2)))
    assert comes(published, LEAVING, longer) == Ask("source", "drop")
    assert isinstance(comes(MOVE, OWNED, READY), Abandon)
    longer = Holding(0, dict.fromkeys(SERVERS, Copy("leaving", 5, epoch=2)))
    assert isinstance(comes(MOVE, longer, READY), Abandon)
    assert comes(MOVE, None, GONE) == Wait("cell 0 does not answer")
    assert comes(MOVE, OWNED, None) == Wait("cell 1 does not answer")
    for move, source, target in (
        (MOVE, OWNED, OWNED),
        (MOVE, LEAVING, OWNED),
        (MOVE, GONE, GONE),
        (MOVE, holding("leaving", 4), GONE),
        (published, GONE, GONE),
        (published, GONE, holding("ready", 4)),
        (published, LEAVING, Holding(0, dict.fromkeys(SERVERS, Copy("ready", 5, epoch=2)))),
    ):
        assert isinstance(comes(move, source, target), Stuck), (source.phase, target.phase)


# ---------------------------------------------------------------- which group


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 99)), max_size=12))
def test_group_after_group_the_goal_is_reached(groups):
    here, goal, records = [list(column) for column in zip(*groups, strict=True)] if groups else ([], [], [])
    pending = sum(a != b for a, b in zip(here, goal, strict=True))
    sizes = []
    while (group := next_group(here, goal, records)) is not None:
        here[group] = goal[group]
        sizes.append(records[group])
    assert (here, len(sizes)) == (goal, pending)
    assert sizes == sorted(sizes, reverse=True)

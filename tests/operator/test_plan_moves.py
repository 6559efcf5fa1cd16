"""Which group moves when. Whatever is edited, paused, lost or forgotten: all get to their cells, one at a time."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.cells import assign_groups, resize
from cellwall.moves import Move
from cellwall_operator.manifests.cellmap import Moving
from cellwall_operator.objects import Told
from cellwall_operator.plan.moves import (
    AGAIN_S,
    FRESH_S,
    Situation,
    StepWanted,
    cells_needed,
    next_step,
)

from .group_world import Stores

LIMIT_S = 2.0


class Service:
    """Cells as dictionaries of groups, the map with what is remembered on it, and what an operator has in memory."""

    def __init__(self, groups: int, cells: int, rng: Random) -> None:
        self.rng = rng
        self.records = [rng.randint(1, 100) for _ in range(groups)]
        self.servers = [[f"s-{group}{zone}" for zone in "abc"] for group in range(groups)]
        self.cell_of = assign_groups(self.records, cells)
        self.asked = cells
        self.stores = Stores(self.servers, self.cell_of)
        self.moving = Moving()
        self.version, self.followers = 1, 1
        self.told: dict[int, Told] = {}
        self.unable: set[int] = set()
        self.silent: set[int] = set()
        self.now_s = 1000.0
        self.moves = 0

    def situation(self) -> Situation:
        return Situation(
            asked=self.asked,
            cell_of=self.cell_of,
            records=self.records,
            servers=self.servers,
            able=frozenset(range(12)) - self.unable - self.silent,
            followed=self.moving.move is not None and self.followers >= self.moving.move.version,
            next_version=self.version + 1,
            told=self.told,
            time_limit_s=LIMIT_S,
        )

    def round(self) -> bool:
        """Plan and carry out once; whether anything was done."""
        before, was = self.moving, self.cell_of
        out = next_step(self.situation(), before, self.now_s)
        assert out == next_step(self.situation(), before, self.now_s)
        if out.moving != before:
            self.moving = msgspec.json.decode(msgspec.json.encode(out.moving), type=Moving)
            if before.move is not None and out.moving.move is not None and out.moving.number != before.number:
                assert max(self.stores.over.values()) >= before.number and not before.move.version, "two at once"
            self.moves += 1 if out.moving.number > before.number else 0
        if out.entries:
            self.version += 1
            assert before.move is not None and out.moving.move is not None
            assert out.moving.move.version == self.version
            assert set(out.entries) == set(self.servers[before.move.group])
            assert before.move.target not in self.unable, "into a cell that is paused"
            self.cell_of = [before.move.target if g == before.move.group else cell for g, cell in enumerate(was)]
        for step in out.steps:
            assert before.move is not None and step.request.move == before.move.number, "not remembered yet"
            assert step.cell in (before.move.source, before.move.target)
            assert step.cell < cells_needed(self.asked, was, before)
            self.carry_out(step, before.move)
        return bool(out.steps) or out.moving != before

    def carry_out(self, step: StepWanted, move: Move) -> None:
        if step.cell in self.silent:
            before = self.told.get(step.cell, Told(move.number))
            self.told[step.cell] = Told(move.number, before.holding, before.at_s, "no answer", self.now_s)
            return
        told = self.told.get(step.cell)
        self.told[step.cell] = self.stores.tell(told, step.cell, move.source, step.verb, step.request, self.now_s)

    def check(self) -> None:
        self.stores.check(self.cell_of)

    def settle(self) -> None:
        for _ in range(2000):
            done = self.round()
            self.check()
            self.followers = self.version
            if not done and self.moving.move is None and not self.moving.goal:
                return
            self.now_s += 1.0
        raise AssertionError((self.moving, next_step(self.situation(), self.moving, self.now_s)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0), st.integers(3, 12), st.integers(1, 3))
def test_whatever_happens_meanwhile_the_cells_are_as_asked_in_the_end(seed: int, groups: int, cells: int) -> None:
    rng = Random(seed)
    service = Service(groups, cells, rng)
    for _ in range(rng.randint(0, 150)):
        match rng.randrange(20):
            case 0:
                service.asked = rng.randint(1, groups)
            case 1:
                service.told = {}  # the operator died
            case 2:
                service.unable ^= {rng.randrange(groups)}
            case 3:
                service.silent ^= {rng.randrange(groups)}
            case 4:
                service.followers = service.version
        service.round()
        service.check()
        service.now_s += rng.choice([0.0, 0.5, 3.0, 10.0])
    service.unable, service.silent = set(), set()
    service.settle()
    assert set(service.cell_of) == set(range(service.asked))
    for group, cell in enumerate(service.cell_of):
        assert service.stores.phases(group) == {cell: "owned"}
    assert cells_needed(service.asked, service.cell_of, service.moving) == service.asked


@given(st.integers(0), st.integers(2, 12), st.integers(1, 4), st.integers(1, 6))
def test_each_group_moves_at_most_once_for_one_change_of_the_number(
    seed: int, groups: int, cells: int, asked: int
) -> None:
    cells, asked = min(cells, groups), min(asked, groups)
    service = Service(groups, cells, Random(seed))
    before = list(service.cell_of)
    service.asked = asked
    service.settle()
    assert service.cell_of == resize(before, service.records, asked)
    assert service.moves == sum(a != b for a, b in zip(before, service.cell_of, strict=True))


def test_what_is_said_and_asked_on_the_way() -> None:
    service = Service(4, 1, Random(1))
    service.asked = 2
    seen: list[tuple[str, list[str]]] = []
    for _ in range(100):
        out = next_step(service.situation(), service.moving, service.now_s)
        seen.append((out.doing, [f"{step.verb} {step.cell}" for step in out.steps]))
        service.round()
        service.followers = service.version
        service.now_s += 1.0
        if service.moving == Moving(number=service.moving.number):
            break
    steps = [step for _, asked in seen for step in asked if not step.startswith("look")]
    assert steps == ["freeze 0", "fetch 1", "drop 0", "settle 1"] * (len(steps) // 4) and len(steps) in (4, 8)
    said = list(dict.fromkeys(doing.partition(": it ")[2].partition(";")[0] for doing, _ in seen))
    assert said[:3] == ["is copied", "waits until all storage pods have map version 2", "is handed over"]
    assert seen[0][0].startswith("placement group ") and " moves from cell-0 to cell-1: it" in seen[0][0]


def test_troubles_are_told_and_tried_again_after_a_while() -> None:
    service = Service(4, 1, Random(1))
    service.asked = 2
    service.round()
    service.silent = {0}
    service.round()
    out = next_step(service.situation(), service.moving, service.now_s)
    assert out.trouble == "cell-0: no answer" and not out.steps
    assert out.look_again_s == AGAIN_S
    out = next_step(service.situation(), service.moving, service.now_s + AGAIN_S)
    assert [(step.cell, step.verb) for step in out.steps if step.cell == 0] == [(0, "look")]


def test_more_cells_than_groups_are_a_trouble_and_move_nothing() -> None:
    service = Service(4, 2, Random(1))
    service.asked = 5
    out = next_step(service.situation(), service.moving, service.now_s)
    assert "cells: 5 is not allowed; it must be in 1..4" in out.trouble
    assert (out.moving, out.steps) == (Moving(), ())


def test_a_number_that_was_forgotten_is_not_used_again() -> None:
    service = Service(4, 1, Random(1))
    service.stores.over |= {0: 7, 1: 5}
    service.asked = 2
    service.settle()
    assert service.moving.number >= 8 and len(set(service.cell_of)) == 2


@pytest.mark.parametrize("age_s", [0.0, FRESH_S + 0.1])
def test_what_was_told_long_ago_is_asked_again(age_s: float) -> None:
    service = Service(4, 1, Random(1))
    service.asked = 2
    for _ in range(2):
        service.round()
    service.now_s += age_s
    out = next_step(service.situation(), service.moving, service.now_s)
    assert [step.verb for step in out.steps] == (["look", "look"] if age_s else ["freeze"])


def test_a_fetch_has_a_deadline_for_each_server() -> None:
    service = Service(4, 1, Random(1))
    service.asked = 2
    timeouts: dict[str, Any] = {}
    for _ in range(40):
        for step in next_step(service.situation(), service.moving, service.now_s).steps:
            timeouts[step.verb] = (step.timeout_s, step.request.deadline_s)
        service.round()
        service.followers = service.version
        service.now_s += 1.0
    assert timeouts["fetch"] == (7 * 2 * LIMIT_S, 2 * LIMIT_S)
    assert timeouts["look"] == timeouts["drop"] == (2 * LIMIT_S, 2 * LIMIT_S)

"""Failures of a running world: what is recorded of them, when they end, and what is refused; over a ground of words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from cellwall import history
from cellwall.errors import CellwallError, Refused, Unavailable
from cellwall.placement import make_layout, server_id
from cellwall.spec import FleetSpec, WorldSpec
from cellwall_lab import triggers, verbs
from cellwall_lab.backends.failures import Failures
from cellwall_lab.backends.ground import Struck
from cellwall_lab.backends.indexes import largest_of

DEADLINE_S = 10.0
SPEC = WorldSpec(seed=3, cells=2, fleet=FleetSpec(servers=50, large_records=60))
LAYOUT = make_layout(SPEC, lambda name: Random(f"3/{name}"))
ZONE_B = {server_id(s) for s in range(50) if LAYOUT.fleet.zone[s] == "b"}


async def until(holds: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.005)
    assert holds(), what


class Words:
    """A ground that says what it was asked for. ``release`` lets what was struck come back."""

    layout = LAYOUT

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.may_return = asyncio.Event()
        self.wrong: CellwallError | None = None
        self.by_itself = False

    def _struck(self, *asked: Any, servers: list[str] | None = None) -> Struck:
        self.asked.append(asked)

        async def back() -> dict[str, Any]:
            await self.may_return.wait()
            if self.wrong is not None:
                raise self.wrong
            return {"back": {"p": 2}}

        return Struck({"gone": {"p": 1}}, back, by_itself=self.by_itself, servers=servers or [])

    def carried_by(self, host: str) -> list[str]:
        if host != "host-b":
            raise Refused("kill.of: no such host")
        return sorted(ZONE_B)

    async def kill(self, verb: verbs.Kill) -> Struck:
        return self._struck("kill", verb.what, verb.of)

    async def lose_node(self, node: str, for_s: float) -> Struck:
        return self._struck("lose", node, for_s, servers=["s-0001"])

    async def roll(self, cell: str, mode: str) -> Struck:
        return self._struck("roll", cell, mode)


@pytest.fixture
async def world() -> Any:
    ground, recorded = Words(), list[history.Record]()
    failures = Failures(ground, recorded.append)  # type: ignore[arg-type]
    yield ground, failures, recorded
    await failures.close()


def faults(recorded: list[history.Record]) -> list[history.Fault]:
    return [r for r in recorded if isinstance(r, history.Fault)]


@pytest.mark.parametrize(
    ("verb", "asked", "targets"),
    [
        (verbs.Kill(what="store", of="cell-1", for_s=0.01), ("kill", "store", "cell-1"), 25),
        (verbs.Kill(what="node", of="cell-0", for_s=0.01), ("kill", "node", "cell-0"), 25),
        (verbs.Kill(what="zone", of="b", for_s=0.01), ("kill", "zone", "b"), len(ZONE_B)),
        (verbs.Kill(what="host", of="host-b", for_s=0.01), ("kill", "host", "host-b"), len(ZONE_B)),
        (verbs.NodeLoss(node="kind-worker", for_s=0.01), ("lose", "kind-worker", 0.01), 1),
        (verbs.Release(cell="cell-0", mode="slow", for_s=0.01), ("roll", "cell-0", "slow"), 25),
    ],
    ids=["store", "node", "zone", "host", "machine", "release"],
)
async def test_a_failure_is_on_until_the_ground_shows_that_it_is_undone(
    world: Any, verb: Any, asked: tuple[Any, ...], targets: int
) -> None:
    ground, failures, recorded = world
    on = await failures.strike(verb)
    assert ground.asked == [asked] and on.servers == targets
    (begun,) = faults(recorded)
    kind = next(path for path, (form, _) in verbs.VERBS.items() if form is type(verb))
    assert (begun.id, begun.fault, begun.state, len(begun.targets)) == (f"{kind}-1", kind, "on", targets)
    assert begun.receipt["gone"] == {"p": 1}
    assert begun.receipt["expires_s"] == pytest.approx(begun.t + verb.for_s)
    ground.may_return.set()
    await until(lambda: len(faults(recorded)) == 2, "it is off")
    over = faults(recorded)[1]
    assert (over.id, over.state, over.targets) == (begun.id, "off", begun.targets)
    assert over.receipt["gone"] == {"p": 1} and over.receipt["back"] == {"p": 2}


async def test_what_comes_back_by_itself_is_awaited_from_the_first(world: Any) -> None:
    ground, failures, recorded = world
    ground.by_itself = True
    ground.may_return.set()
    await failures.strike(verbs.Kill(what="node", of="cell-0", for_s=3600.0))
    await until(lambda: len(faults(recorded)) == 2, "it is off long before its hour")
    assert "expires_s" not in faults(recorded)[0].receipt, "nobody knows when"


async def test_the_dead_do_not_say_that_they_have_left_service(world: Any) -> None:
    _, failures, recorded = world
    await failures.strike(verbs.Kill(what="zone", of="b", for_s=60.0))
    out = {r.server: r for r in recorded if isinstance(r, history.Availability)}
    assert set(out) == ZONE_B and not any(r.available for r in out.values())
    cells = {server_id(s): f"cell-{LAYOUT.cell[s]}" for s in range(50)}
    assert all(r.cell == cells[name] and r.reason == "killed" for name, r in out.items())
    recorded.clear()
    await failures.strike(verbs.Kill(what="store", of="cell-0", for_s=60.0))
    assert not [r for r in recorded if isinstance(r, history.Availability)], "these are alive and say it themselves"


async def test_an_undo_that_fails_leaves_the_failure_on_and_says_so(
    world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ground, failures, recorded = world
    ground.wrong = Unavailable("waited 60 s for it to start again")
    ground.may_return.set()
    await failures.strike(verbs.Kill(what="store", of="cell-0", for_s=0.01))
    said = ""

    def told() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "kill-1: still on: waited 60 s" in said

    await until(told, "it is told")
    assert [f.state for f in faults(recorded)] == ["on"]


WRONG = {
    "no cell": (
        verbs.Kill(what="store", of="cell-9"),
        "kill.of: 'cell-9' is not a cell; it must be one of cell-0, cell-1",
    ),
    "no zone": (verbs.Kill(what="zone", of="z"), "kill.of: 'z' is not a zone"),
    "no host": (verbs.Kill(what="host", of="host-z"), "no such host"),
    "no end": (verbs.Kill(what="store", of="cell-0", for_s=float("inf")), "every failure ends by itself"),
    "over before": (verbs.NodeLoss(node="n", for_s=0.0), "it must be > 0"),
    "nothing wrong with it": (verbs.Release(cell="cell-0", mode="", for_s=1.0), "release.mode: ''"),
    "no cell to roll": (verbs.Release(cell="c", mode="slow", for_s=1.0), "release.cell: 'c' is not a cell"),
    "no cell to poison": (verbs.Poison(cell="c"), "poison.cell: 'c' is not a cell"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_refused_strikes_nothing(world: Any, case: str) -> None:
    ground, failures, recorded = world
    verb, words = WRONG[case]
    with pytest.raises(Refused, match=words.replace("'", ".")):
        await failures.strike(verb)
    assert not ground.asked and not recorded


def test_the_poisoned_table_is_the_largest_of_its_cell() -> None:
    for cell in (0, 1):
        table = largest_of(f"cell-{cell}", LAYOUT)
        homes = {LAYOUT.cell[s] for triples in table.replicas.values() for triple in triples for s in triple}
        assert homes == {cell}, "aligned: a table lives in one cell"
        mine = [t for t in LAYOUT.tables if LAYOUT.cell[t.replicas[""][0][0]] == cell]
        assert table.info.partitions == max(t.info.partitions for t in mine)


# ---------------------------------------------------------------- as an arm's trigger


def test_an_arm_without_a_trigger_has_the_cut_of_its_targets() -> None:
    cut = triggers.of_arm(None, verbs.Targets(domain=0), 3.0)
    assert triggers.decode(cut) == verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0)


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({}, "must be one of cut, kill"),
        ({"kill": {}, "cut": {}}, "must be one of cut, kill"),
        ({"pause": {"cell": "cell-0"}}, "must be one of cut, kill"),
        ({"kill": {"what": "table", "of": "x"}}, "trigger.kill: Invalid enum value 'table'"),
        ({"kill": {"what": "store", "of": "cell-0", "fore_s": 3}}, "fore_s"),
        ({"kill": {"what": "store", "of": "cell-0", "for_s": 0}}, "it must be > 0"),
        ({"release": {"cell": "cell-0", "mode": "fast", "for_s": 3}}, "trigger.release: Invalid enum value 'fast'"),
        ({"poison": {"cell": "cell-0", "deadline_s": float("inf")}}, "it must be > 0"),
    ],
)
def test_a_trigger_that_is_none_is_refused_with_what_would_be_one(trigger: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        triggers.decode(trigger)

"""The state that watchers see, and the growth of indexes through a front end that only pretends."""

import asyncio
import contextlib
import json
from random import Random

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cellwall import history
from cellwall.capacity import TYPICAL
from cellwall.errors import Refused
from cellwall.placement import make_layout
from cellwall.spec import CpuSpec, FleetSpec, LoadSpec, MetadataPolicy, RenewalPolicy, WorldSpec
from cellwall_lab import verbs
from cellwall_lab.backends import indexes
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.backends.fleet_view import CellFacts, Retrieval, fleet_state, newest
from cellwall_lab.backends.http_calls import Calls
from cellwall_lab.backends.live import Live
from cellwall_lab.backends.simulation import SimulatedWorld
from cellwall_lab.living import view

SPEC = WorldSpec(
    cells=2,
    fleet=FleetSpec(servers=50, large_records=60),
    renewal=RenewalPolicy(renew_every_s=6.0, time_limit_s=2.0),
    metadata=MetadataPolicy(partitions=4),
    load=LoadSpec(rps=20.0),
    cpu=CpuSpec(total_cores=1.0),
)


@pytest.fixture
def simulated(tmp_path):
    world = SimulatedWorld(ArmConfig(arm="a", backend="simulation", seed=1, spec=SPEC, out=str(tmp_path)), TYPICAL)
    world.start()
    return lambda verb: asyncio.run(world.carry_out(verb))


def test_the_simulation_tells_every_server_and_every_cell(simulated):
    state = simulated(verbs.Fleet())
    assert (state.name, state.time_limit_s, len(state.servers)) == ("a", 2.0, 50)
    assert {server.state for server in state.servers} == {"in"}
    assert {name: (cell.servers, cell.out, cell.nodes, cell.limit_cores) for name, cell in state.cells.items()} == {
        "cell-0": (25, 0, 1, 0.5),
        "cell-1": (25, 0, 1, 0.5),
    }
    assert view.condition(state) == "healthy"
    assert "no answer" in view.text(state), "a simulated node keeps no statistics, and nobody makes them up"

    struck = simulated(verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0)).servers
    state = simulated(verbs.Fleet())
    assert [server.state for server in state.servers].count("cut") == struck == sum(c.out for c in state.cells.values())
    assert {server.reason for server in state.servers if server.state == "cut"} == {"link-lost"}
    assert view.condition(state) == "cut"
    simulated(verbs.Wait(until="recovered", deadline_s=30.0))
    simulated(verbs.Pause(cell="cell-1"))
    state = simulated(verbs.Fleet())
    assert (state.cells["cell-0"].paused, state.cells["cell-1"].paused) == (False, True)
    assert view.condition(state) == "paused"


def test_what_the_simulation_cannot_do_it_refuses_in_words(simulated):
    with pytest.raises(Refused, match=r"grow-indexes: .* --backend local"):
        simulated(verbs.GrowIndexes())
    with pytest.raises(Refused):
        simulated(verbs.Trace(server="s-0000"))


def state_of(retrievals, now_s=100.0):
    layout = make_layout(SPEC, Random)
    rows = layout.rows()
    live = Live(SPEC, {row[0]: (row[1], row[5]) for row in rows}, 30)
    cells = {c: CellFacts(nodes=1, limit_cores=0.1, retrievals=retrievals) for c in ("cell-0", "cell-1")}
    return fleet_state(name="w", spec=SPEC, rows=rows, live=live, now_s=now_s, cells=cells)


def test_headroom_is_that_of_the_slowest_large_membership_and_never_an_old_figure():
    bare = state_of({})
    assert view.headroom(bare.cells["cell-0"], 2.0) == "no answer"
    told = {}
    for cell, of in bare.cells.items():
        mine = sorted((s for s in bare.servers if s.cell == cell), key=lambda s: -s.records)
        large = [s for s in mine if s.records >= of.largest_records / 2]
        assert len(large) >= 2
        told |= {s.id: Retrieval(9.0, 100.0) for s in mine if s not in large}  # small ones do not count
        if cell == "cell-0":
            told |= {s.id: Retrieval(0.3, 95.0) for s in large} | {large[1].id: Retrieval(1.5, 95.0)}
        else:  # 1.5 periods of 6 s: what nobody got since then says nothing of now
            told |= {s.id: Retrieval(0.4, 90.9) for s in large}
    state = state_of(told)
    assert state.cells["cell-0"].largest_retrieval_s == 1.5
    assert view.headroom(state.cells["cell-0"], 2.0) == "1.50 of 2 s (thin)"
    assert state.cells["cell-1"].largest_retrieval_s is None
    assert view.headroom(state.cells["cell-1"], 2.0) == "nobody got one"


LAYOUT_ROWS = make_layout(SPEC, Random).rows()
SERVERS = [row[0] for row in LAYOUT_ROWS]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(SERVERS[:8]), st.booleans()),
            st.tuples(st.sampled_from(["cut-1", "cut-2"]), st.none() | st.sets(st.sampled_from(SERVERS[:8]))),
        )
    )
)
def test_every_server_is_in_out_or_cut_and_the_cells_count_them(moves):
    """Against a dumb twin that keeps two sets."""
    live = Live(SPEC, {row[0]: (row[1], row[5]) for row in LAYOUT_ROWS}, 30)
    out, cuts = set(SERVERS), {}
    for t, (name, what) in enumerate(moves):
        if isinstance(what, bool):
            live.add(history.Availability(t=t, server=name, cell="", available=what, reason=f"r{t}"))
            (out.discard if what else out.add)(name)
        else:
            state = "off" if what is None else "on"
            live.add(history.Fault(t=t, id=name, fault="cut", state=state, targets=sorted(what or ())))
            cuts[name] = what or set()
    cells = {c: CellFacts(nodes=1, limit_cores=0.1) for c in ("cell-0", "cell-1")}
    state = fleet_state(name="w", spec=SPEC, rows=LAYOUT_ROWS, live=live, now_s=float(len(moves)), cells=cells)
    struck = set().union(*cuts.values())
    assert {s.id: s.state for s in state.servers} == {
        s: "in" if s not in out else "cut" if s in struck else "out" for s in SERVERS
    }
    for name, cell in state.cells.items():
        assert cell.out == sum(s.cell == name and s.state != "in" for s in state.servers)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["s-0", "s-1", "s-2"]),
            st.fixed_dictionaries({"retrieval_s": st.floats(0, 5), "at": st.floats(0, 100)}),
        ),
        max_size=4,
    )
)
def test_of_several_nodes_the_newest_word_counts(told):
    found = newest(told)
    assert found.keys() == {server for node in told for server in node}
    for server, one in found.items():
        said = [Retrieval(n[server]["retrieval_s"], n[server]["at"]) for n in told if server in n]
        assert one in said and all(other.at_s <= one.at_s for other in said)


# ---------------------------------------------------------------- indexes


class Door:
    """Tables of a front end: a change keeps a table UPDATING for so many looks, or for ever."""

    def __init__(self, looks=2, stuck=()):
        self.looks, self.stuck = looks, stuck
        self.indexes = {}  # table -> index names
        self.left = {}  # table -> looks until it is ACTIVE
        self.asked = []

    def describe(self, table):
        if self.left.get(table, 0) and table[1] not in self.stuck:
            self.left[table] -= 1
        busy = bool(self.left.get(table, 0))
        names = self.indexes[table]
        found = {"TableStatus": "UPDATING" if busy else "ACTIVE"}
        if names:
            states = ["ACTIVE"] * (len(names) - 1) + ["CREATING" if busy else "ACTIVE"]
            found["GlobalSecondaryIndexes"] = [
                {"IndexName": name, "IndexStatus": state} for name, state in zip(names, states, strict=True)
            ]
        return found

    async def answer(self, request):
        body = json.loads(await request.text())
        customer = request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        table = (customer, body["TableName"])
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        if table not in self.indexes:
            error = {"__type": "x#ResourceNotFoundException", "message": f"Table: {body['TableName']} not found"}
            return web.json_response(error, status=400)
        if operation == "UpdateTable":
            assert self.left.get(table, 0) == 0, "a table was changed while it was UPDATING"
            (update,) = body["GlobalSecondaryIndexUpdates"]
            (key,) = update["Create"]["KeySchema"]
            (attribute,) = body["AttributeDefinitions"]
            assert attribute == {"AttributeName": key["AttributeName"], "AttributeType": "S"}
            name = update["Create"]["IndexName"]
            assert name not in self.indexes[table]
            self.indexes[table].append(name)
            self.left[table] = self.looks
            self.asked.append(table)
        return web.json_response({"Table": self.describe(table)})


@contextlib.asynccontextmanager
async def served(door):
    app = web.Application()
    app.router.add_post("/", door.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    calls = Calls()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2]), calls
    finally:
        await calls.close()
        await runner.cleanup()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(indexes, "POLL_S", 0.01)


PLACED = make_layout(SPEC, Random).tables


async def test_indexes_are_added_one_after_the_other_to_each_table(quick):
    door = Door()
    door.indexes = {("me", "orders"): [], ("me", "parts"): ["grown-0", "by-g0"], ("you", "other"): []}
    async with served(door) as (frontend, calls):
        verb = verbs.GrowIndexes(tables=["me/orders", "me/parts"], count=2, deadline_s=20.0)
        result = await indexes.grow(verb, PLACED, frontend, calls)
    assert (result.outcome, result.reason) == ("done", "4 of 4 indexes ACTIVE")
    assert door.indexes == {
        ("me", "orders"): ["grown-0", "grown-1"],
        ("me", "parts"): ["grown-0", "by-g0", "grown-1", "grown-2"],
        ("you", "other"): [],
    }


async def test_a_table_that_is_stuck_is_unknown_and_named(quick):
    door = Door(stuck={"parts"})
    door.indexes = {("me", "orders"): [], ("me", "parts"): []}
    async with served(door) as (frontend, calls):
        verb = verbs.GrowIndexes(tables=["me/orders", "me/parts"], deadline_s=1.0)
        result = await indexes.grow(verb, PLACED, frontend, calls)
    assert (result.outcome, result.reason) == ("unknown", "1 of 2 indexes ACTIVE after 1 s; not me/parts")


async def test_what_the_front_end_refuses_is_told_in_its_words(quick):
    async with served(Door()) as (frontend, calls):
        result = await indexes.grow(verbs.GrowIndexes(tables=["me/none"]), PLACED, frontend, calls)
    assert result.outcome == "refused"
    assert result.reason == "0 of 1 indexes ACTIVE; DescribeTable me/none: Table: none not found"


@pytest.mark.parametrize("tables", [0, -1, len(PLACED) + 1, [], ["orders"], ["me/"], ["/orders"], [""]])
def test_tables_that_nobody_can_mean_are_refused(tables):
    with pytest.raises(Refused, match=r"grow-indexes\.tables"):
        indexes.chosen(tables, PLACED)


def test_a_number_means_the_largest_tables():
    size = {
        f"{t.info.customer}/{t.info.name}": t.info.partitions + sum(i.partitions for i in t.info.indexes)
        for t in PLACED
    }
    two = [str(table) for table in indexes.chosen(2, PLACED)]
    assert len(set(two)) == 2
    assert sorted(size.values())[-2:] == sorted(size[name] for name in two)

"""What a membership asks for, and which servers are cut: the pure pages, against twins."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Refused, Unavailable
from cellwall.model import Assignment, CellEntry, CellMap, Membership, TableInfo
from cellwall_services.storage import membership
from cellwall_services.storage.calls import Calls, Meter
from cellwall_services.storage.gate import Gate
from cellwall_services.storage.mapfile import MapFile
from cellwall_services.storage.membership import Lacking, Slim, compare, settle
from cellwall_services.wire import Cut


def answer(**changes: object) -> bytes:
    assignments = [Assignment("t-1", "", n, "0", "", 0, 2, 1, ("s-2", "s-3")) for n in range(3)]
    whole = Membership("s-1", "cell-0", 2, 1, 3, {"t-1": TableInfo("t-1", "orders", "c-1", 3)}, assignments)
    return msgspec.json.encode(msgspec.to_builtins(whole) | changes)


def test_an_answer_is_read_without_losing_a_record() -> None:
    read = membership.read(answer(), "s-1")
    assert (read.epoch, read.confirmed, read.count) == (2, 1, 3)
    assert set(membership.assignments(read)) == {"t-1//0", "t-1//1", "t-1//2"}
    assert read.digest() == membership.read(answer(confirmed=2), "s-1").digest()
    assert read.digest() != membership.read(answer(assignments=[]), "s-1").digest()


@pytest.mark.parametrize(
    "body",
    [
        answer(server="s-2"),
        answer(count=4),
        answer(epoch=0),
        answer(epoch=1),  # its assignments are of epoch 2
        answer(confirmed=3),
        answer(count=0, assignments=[{}]),
        answer(
            count=2, assignments=[{"table": "t", "index": "", "partition": 0, "epoch": 1, "born": 1, "peers": []}] * 2
        ),
        answer()[:-1],
        b"",
        b"<html>",
        b'{"server": "s-1"}',
    ],
)
def test_an_answer_that_is_not_ours_or_cut_off_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="membership"):
        membership.assignments(membership.read(body, "s-1"))


slims = st.builds(
    lambda epoch, born: Slim("t", "", 0, max(epoch, born), born, ("s-2", "s-3")), st.integers(1, 4), st.integers(1, 4)
)


@given(
    st.dictionaries(st.sampled_from("abcdef"), slims),
    st.integers(0, 4),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4)),
)
def test_everything_assigned_ends_up_held_and_nothing_else(
    assigned: dict[str, Slim], confirmed: int, held: dict[str, int]
) -> None:
    work = compare(assigned, confirmed, held)
    after = (held.keys() | work.create.keys() | work.fetch.keys()) - set(work.drop)
    assert after == assigned.keys()
    for key, record in assigned.items():
        empty_is_right = record.born == record.epoch > confirmed  # nobody can have written to it
        kinds = [held.get(key) == record.epoch, key in work.create, key in work.fetch]
        assert sum(kinds) == 1
        assert not (key in work.create and not empty_is_right)


def test_a_lacking_partition_needs_every_peer_heard() -> None:
    old, new = Lacking(1, False, ("s-2", "s-3")), Lacking(3, True, ("s-2", "s-3"))
    assert settle(old, "s-1", ["s-2", "s-3"], ["s-3"])
    assert not settle(old, "s-1", ["s-3"], ["s-3"]), "the silent one may have the only other copy of a write"
    assert not settle(old, "s-1", ["s-2", "s-3"], []), "what was confirmed must not come back empty"
    assert settle(new, "s-1", ["s-2", "s-3"], [])
    assert not settle(new, "s-1", ["s-2"], [])
    assert settle(Lacking(1, False, ("s-1", "s-2")), "s-1", ["s-2"], ["s-2"]), "it does not wait for itself"


servers = [f"s-{n}" for n in range(4)]
cuts = st.lists(st.tuples(st.sets(st.sampled_from([*servers, "s-99"])), st.integers(1, 5)), max_size=5)


@given(cuts, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=8))
def test_a_server_is_cut_while_any_cut_over_it_is_on(
    over: list[tuple[set[str], int]], ends: list[tuple[int, int]]
) -> None:
    gate = Gate(servers)
    on: dict[str, set[str]] = {}
    for number, (targets, for_s) in enumerate(over):
        was_cut = {server for server in servers if gate.is_cut(server)}
        state, lost = gate.on(Cut(f"c{number}", sorted(targets), for_s), 0.0)
        on[f"c{number}"] = targets & set(servers)
        assert state.servers == len(on[f"c{number}"])
        assert set(lost) == on[f"c{number}"] - was_cut, "the link is lost once"
    for number, at_s in ends:
        if f"c{number}" in [f"c{n}" for n in range(len(over))]:
            gate.off(f"c{number}", at_s)
            on.pop(f"c{number}", None)
        for server in servers:
            before = {state.id: state.refused for state in gate.active()}
            covering = {name for name, targets in on.items() if server in targets}
            assert gate.refuses(server) == bool(covering)
            assert {s.id for s in gate.active() if s.refused > before[s.id]} == covering, "every cut gets its receipt"
        assert {state.id for state in gate.active()} == on.keys()


def test_the_receipt_stays_after_the_end() -> None:
    gate = Gate(servers)
    gate.on(Cut("c", ["s-1"], 3.0), 100.0)
    assert gate.refuses("s-1")
    assert gate.off("c", 101.0) == gate.off("c", 200.0)
    state = gate.off("c", 200.0)
    assert (state.on_s, state.off_s, state.active, state.refused) == (100.0, 101.0, False, 1)


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (Cut("", ["s-1"], 1.0), "id"),
        (Cut("c", ["s-1"], 0.0), "for_s: 0.0"),
        (Cut("c", ["s-1"], -1.0), "for_s"),
        (Cut("c", ["s-1"], float("nan")), "for_s"),
        (Cut("c", ["s-1"], 1e9), "for_s"),
        (Cut("taken", ["s-2"], 1.0), "another cut"),
    ],
)
def test_a_cut_that_means_nothing_is_refused(cut: Cut, text: str) -> None:
    gate = Gate(servers)
    gate.on(Cut("taken", ["s-1"], 1.0), 0.0)
    with pytest.raises(Refused, match=text):
        gate.on(cut, 0.0)
    with pytest.raises(Refused, match="no cut"):
        gate.off("unknown", 0.0)


async def test_the_node_with_the_fewest_of_our_own_requests_is_asked() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    cell = CellEntry("cell-0", {"n-0": address, "n-1": address}, {}, [["n-0", "n-1"], ["n-9"], []])
    calls = Calls()
    asked, tasks = [], []
    for _ in range(4):
        asked.append(calls.node_for(cell, 0))
        tasks.append(asyncio.create_task(calls.membership(cell, asked[-1], "s-1", 5.0, Meter())))
        await asyncio.sleep(0)
    assert asked == ["n-0", "n-1", "n-0", "n-1"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert calls.node_for(cell, 0) == "n-0", "a given-up request is not outstanding"
    for partition in (1, 2, 3):  # an owner without an address, no owner, no such partition
        with pytest.raises(Unavailable, match="nobody owns"):
            calls.node_for(cell, partition)
    await calls.close()
    listener.close()
    await listener.wait_closed()


def test_the_map_in_force_only_rises_and_survives_a_bad_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "map.json"
    follower = MapFile(path)
    assert (follower.look(), follower.version) == (None, 0)

    def publish(version: int, body: bytes | None = None) -> CellMap | None:
        new = tmp_path / "new"
        new.write_bytes(msgspec.json.encode(CellMap(version, {}, {})) if body is None else body)
        new.replace(path)
        return follower.look()

    assert publish(2) == follower.current == CellMap(2, {}, {})
    assert follower.look() is None, "unchanged"
    assert publish(1) is None
    assert publish(0, b'{"version": 9') is None
    assert follower.look() is None
    assert len(caplog.messages) == 2, "each bad file is complained about once"
    assert follower.version == 2
    assert publish(3) is not None

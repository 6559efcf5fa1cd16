"""Bad releases of a metadata node: slow by its own CPU, crashed on the n-th renewal, behind in epochs and refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import msgspec
import pytest
import redis

from cellwall.errors import Refused, Unavailable
from cellwall.spec import RELEASES, Release
from cellwall_lab.backends.processes import Processes
from cellwall_services.metadata.loader import LoaderConfig, main
from cellwall_services.metadata.release import CRASHED_STATUS, burn
from cellwall_services.metadata.store import READ_VERSION, Command, Store, read_head, read_list, write_confirmed
from cellwall_services.storage import membership

from .metadata_world import DEADLINE_S, LARGE, LAYOUT, OTHER, SERVERS, SPEC, Place, Start, until


def test_a_good_release_does_nothing() -> None:
    assert RELEASES[""] == Release()
    before_s = time.thread_time()
    for _ in range(1000):
        burn(0.0)
    assert time.thread_time() - before_s < 0.1


def test_what_is_burnt_is_cpu_of_this_thread() -> None:
    before_s = time.thread_time()
    burn(0.02)
    assert time.thread_time() - before_s >= 0.02


async def test_a_slow_release_spends_cpu_on_each_record(start: Start) -> None:
    extra_s = 2e-3
    node = await start(release=Release(record_cpu_s=extra_s))
    name, records = SERVERS[LARGE], LAYOUT.records[LARGE]
    assert (await node.membership(name)).count == records, "slow, and right"

    async def spent() -> bool:
        samples = [s for s in node.samples() if s.records >= records]
        return bool(samples) and samples[-1].cpu_s >= records * extra_s

    await until(spent)


async def test_a_crashing_release_ends_on_its_nth_renewal_and_comes_back_as_it_was(start: Start, place: Place) -> None:
    node = await start(release=Release(crash_on=3))
    place.processes.may_end(node.name)
    for _ in range(2):
        assert (await node.renew(OTHER))[0] == 200
    assert (await node.call("GET", "/map/0"))[0] == 200, "administration does not count"
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)  # asks once; aiohttp would ask again
    writer.write(f"GET /membership/{OTHER} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
    assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b"", "it says nothing more to anybody"
    writer.close()
    assert place.processes.wait(node.name, DEADLINE_S) == CRASHED_STATUS
    assert "renewal 3" in place.processes.log_tail(node.name)
    place.processes.again(node.name)
    await node.up()
    assert (await node.renew(OTHER))[0] == 200


async def test_an_epoch_behind_is_refused_by_the_storage_server(start: Start, place: Place) -> None:
    good, bad = await start(), await start(release=RELEASES["epochs"])
    name = SERVERS[LARGE]
    answer = membership.read((await good.renew(name))[1], name)
    assert answer.epoch == 1 and membership.assignments(answer)
    with pytest.raises(Refused, match="epoch 0"):
        membership.read((await bad.renew(name))[1], name)
    # A server that has seen a change: its assignments are older than the change, so they alone do not give it away.
    place.redis.hset(f"server:{name}", mapping={"epoch": 5})
    newer, behind = [membership.read((await node.renew(name))[1], name) for node in (good, bad)]
    assert (newer.epoch, behind.epoch) == (5, 4), "what the agent refuses as stale: see renewal.step"
    assert membership.assignments(behind)


async def test_a_killed_store_comes_back_with_what_it_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where every process of a world works
    processes, name = Processes(tmp_path), SERVERS[LARGE]
    url = processes.store("cell-0")
    wanted: list[Command] = [read_head(name), read_list(name), READ_VERSION]
    try:
        await main(LoaderConfig(spec=SPEC, stores=[url], durable=True))
        store = Store(url)
        await store.execute([write_confirmed(name, 1)])  # after it was filled

        async def kept() -> bool:
            (info,) = await store.execute([("INFO", "persistence")])
            return b"aof_rewrite_in_progress:0" in info and b"aof_rewrite_scheduled:0" in info

        await until(kept)
        before = await store.execute(wanted)
        assert before[0][1] == b"1" and len(before[1]) == LAYOUT.records[LARGE]
        processes.kill("store-cell-0")
        with pytest.raises(Unavailable):
            await store.execute(wanted)
        processes.store("cell-0", filled=True)

        async def back() -> bool:
            with contextlib.suppress(Unavailable):
                return await store.execute(wanted) == before
            return False

        await until(back)
        await store.close()
    finally:
        processes.end_all()


async def test_cells_that_share_a_store_keep_apart_what_is_theirs(place: Place) -> None:
    spec = msgspec.structs.replace(SPEC, cells=2, shared_store=True)
    await main(LoaderConfig(spec=spec, stores=[f"{place.url}?db={number}" for number in (5, 6)]))
    found = []
    for number in (5, 6):
        with redis.Redis(unix_socket_path=str(place.path), db=number) as database:
            found.append(set(database.keys("server:*")))
            assert database.get("version") == b"1"
    assert found[0] and found[1] and not found[0] & found[1]
    assert len(found[0] | found[1]) == len(SERVERS)

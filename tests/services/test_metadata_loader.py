"""The loader over stores that are filled, half filled, or not there yet; and a node that comes before its store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from cellwall_lab.backends.processes import Processes

from .metadata_world import DEADLINE_S, SERVERS, SPEC, Node, Place, until

Content = dict[bytes, bytes]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def content(place: Place) -> Content:
    return {key: place.redis.dump(key) for key in place.redis.scan_iter()}


def load(processes: Processes, url: str, *, name: str = "again", seed: int = SPEC.seed, wait_s: float = 0.0) -> None:
    config = {"spec": SPEC, "stores": [url], "wait_s": wait_s}
    if seed != SPEC.seed:
        config["spec"] = {"seed": seed, "fleet": SPEC.fleet, "metadata": SPEC.metadata}
    processes.service(name, "cellwall_services.metadata.loader", config, may_end=True)


def test_a_store_that_has_a_version_is_left_as_it_is(place: Place) -> None:
    before = content(place)
    load(place.processes, place.url, seed=SPEC.seed + 1)
    assert place.processes.wait("again", DEADLINE_S) == 0
    assert content(place) == before


def test_what_an_interrupted_filling_left_is_not_filled_on_top_of(place: Place) -> None:
    before = content(place)
    place.redis.delete("version")
    place.redis.rpush(f"list:{SERVERS[0]}", b"half")
    place.redis.set("table:unknown", b"{}")
    load(place.processes, place.url)
    assert place.processes.wait("again", DEADLINE_S) == 0
    assert content(place) == before


async def test_loader_and_node_wait_for_a_store_that_comes_after_them(
    own: Place, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    own.processes.end("store")
    own.path.unlink(missing_ok=True)
    node = Node(own, http, SPEC.metadata)
    load(own.processes, own.url, wait_s=4 * DEADLINE_S)

    async def node_waits() -> bool:
        return "waiting: store" in own.processes.log_tail(node.name)

    await until(node_waits)
    assert own.processes.poll("again") is None
    own.start_store()
    await node.up()
    assert await asyncio.to_thread(own.processes.wait, "again", DEADLINE_S) == 0
    assert (await node.membership(SERVERS[0])).server == SERVERS[0]


def test_a_store_that_never_answers_is_one_line_and_status_1(place: Place, tmp_path: Path) -> None:
    load(place.processes, f"unix://{tmp_path}/nobody", name="hopeless")
    assert place.processes.wait("hopeless", DEADLINE_S) == 1
    said = (place.processes.folder / "logs" / "hopeless.log").read_text()
    assert said.startswith("cellwall-loader: store unix://") and said.count("\n") == 1

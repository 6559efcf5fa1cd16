"""Fixtures of the services' tests; what they give is in `metadata_world`, `storage_world` and `frontend_world`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from cellwall.spec import MetadataPolicy, Release

from .frontend_world import FakeWorld, FrontEnd
from .metadata_world import DEADLINE_S, SPEC, Node, Place, Start
from .storage_world import World, until

# ---------------------------------------------------------------- metadata nodes


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"))
    yield place
    place.close()


@pytest.fixture
def place(shared_place: Place) -> Place:
    shared_place.refill()
    return shared_place


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=2 * DEADLINE_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), timeout=timeout) as session:
        yield session


@pytest_asyncio.fixture
async def start(place: Place, http: aiohttp.ClientSession) -> AsyncIterator[Start]:
    """Starts nodes that end with the test."""
    nodes: list[Node] = []

    async def one(policy: MetadataPolicy = SPEC.metadata, release: Release | None = None) -> Node:
        nodes.append(Node(place, http, policy, release))
        return await nodes[-1].up()

    yield one
    place.processes.end(*(node.name for node in nodes))


_readers: dict[Place, Node] = {}


@pytest_asyncio.fixture
async def node(place: Place, http: aiohttp.ClientSession) -> Node:
    """One node for all tests that leave it as it was."""
    if place not in _readers:
        _readers[place] = await Node(place, http, SPEC.metadata).up()
    _readers[place].http = http
    return _readers[place]


# ---------------------------------------------------------------- storage hosts


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.node.open()
    yield world
    await world.close()


@pytest_asyncio.fixture
async def host(world: World) -> World:
    """One host with two servers, both in service."""
    world.add_host("h", ["s-1", "s-2"])
    world.assign("s-1", "s-2")
    world.publish()
    await world.start("h")
    await world.all_in()
    return world


@pytest_asyncio.fixture
async def three(world: World) -> World:
    """Three hosts with one replica each of the same three partitions."""
    for number in (1, 2, 3):
        world.add_host(f"h{number}", [f"s-{number}"])
    world.assign("s-1", "s-2", "s-3")
    world.publish()
    await asyncio.gather(*(world.start(f"h{number}") for number in (1, 2, 3)))
    for number in (1, 2, 3):
        await world.all_in(f"h{number}")

    async def confirmed() -> bool:
        return len(world.node.confirmed) == 3

    await until(confirmed)
    return world


# ---------------------------------------------------------------- the front end, over a `world` of the file's own


@pytest.fixture(scope="module")
def front(world: FakeWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    """Each file has a `world` of its own, in place of the storage hosts' above, with the tables that it is about."""
    front = FrontEnd(world, tmp_path_factory.mktemp("front"))
    front.start()
    yield front
    assert front.stop() == 0


@pytest.fixture(scope="module")
def alice(front: FrontEnd) -> Any:
    return front.customer("alice")


@pytest.fixture
def healed(world: FakeWorld) -> Iterator[None]:
    """Whatever a test does to the world ends with it."""
    yield
    world.heal()

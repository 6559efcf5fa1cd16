"""A metadata node's renewal door: what a membership holds, what is never sent, and what a confirmation leaves."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from cellwall.model import Membership
from cellwall.placement import server_tables
from cellwall_services.wire import TableChange

from .metadata_world import (
    DEADLINE_S,
    LARGE,
    LAYOUT,
    OTHER,
    PARTITION,
    SERVERS,
    SPEC,
    Node,
    Place,
    new_table,
    rows_of,
)


async def test_every_membership_is_what_placement_says(node: Node) -> None:
    mentioned = server_tables(LAYOUT)
    for number, name in enumerate(SERVERS):
        answer = await node.membership(name)
        tables = {LAYOUT.tables[t].info.id: LAYOUT.tables[t].info for t in mentioned[number]}
        expected = Membership(name, "cell-0", 1, 0, LAYOUT.records[number], tables, rows_of(number))
        assert answer == expected
    assert LAYOUT.records[LARGE] > 2 * SPEC.metadata.page_records, "several pages"


async def test_an_unknown_server_is_not_found(node: Node) -> None:
    status, body = await node.renew("s-9999")
    assert (status, msgspec.json.decode(body)) == (404, {"error": "no server s-9999 in cell-0"})


async def test_a_server_without_records_gets_an_empty_membership(place: Place, node: Node) -> None:
    fields = {"epoch": 3, "confirmed": 2, "count": 0, "tables": "[]", "partition": 0}
    place.redis.hset("server:s-0900", mapping=fields)
    assert await node.membership("s-0900") == Membership("s-0900", "cell-0", 3, 2, 0, {}, [])


@pytest.mark.parametrize("at", [0, 3, 7, 8, 40, -1], ids=str)
async def test_a_damaged_row_is_never_sent(place: Place, node: Node, at: int) -> None:
    """Wherever the byte is, and also when what is left is no number or no JSON."""
    name = SERVERS[LARGE]
    row = bytearray(place.redis.lindex(f"list:{name}", 17))
    row[at] ^= 0x40
    place.redis.lset(f"list:{name}", 17, bytes(row))
    status, body = await node.renew(name)
    assert status == 400
    assert b"damaged" in body and b"assignments" not in body
    assert (await node.renew(OTHER))[0] == 200, "the others are served"
    assert (await node.call("GET", f"/map/{PARTITION}"))[0] == 400, "nor may another node take it over"


@pytest.mark.parametrize("what", ["row", "table", "tables", "count"])
async def test_nonsense_in_the_store_is_refused_and_the_node_lives(place: Place, node: Node, what: str) -> None:
    name = SERVERS[LARGE]
    if what == "row":
        place.redis.lset(f"list:{name}", 0, b"")
    elif what == "table":
        table = rows_of(LARGE)[0].table
        place.redis.set(f"table:{table}", b'{"id":')
    else:
        place.redis.hset(f"server:{name}", what, b"[nonsense")
    status, body = await node.renew(name)
    assert (status, b"assignments" in body) == (400, False)
    change = TableChange(new_table("t-90001"), {name: []})
    if what in ("tables", "count"):
        assert (await node.call("POST", "/tables", change))[0] == 400
    assert (await node.renew(OTHER))[0] == 200


async def test_a_list_that_is_cut_short_is_refused(place: Place, node: Node) -> None:
    name, count = SERVERS[LARGE], LAYOUT.records[LARGE]
    place.redis.rpop(f"list:{name}")
    status, body = await node.renew(name)
    assert (status, msgspec.json.decode(body)["error"]) == (
        400,
        f"{name}: the list ends after {count - 1} of {count} records",
    )


async def test_a_list_longer_than_announced_is_read_to_the_announced_end(place: Place, node: Node) -> None:
    """As while a table is being created: the head was read before the new rows came."""
    name = SERVERS[LARGE]
    place.redis.rpush(f"list:{name}", b"not yet mine")
    answer = await node.membership(name)
    assert answer.count == len(answer.assignments) == LAYOUT.records[LARGE]


async def test_a_record_of_a_table_that_is_gone_is_refused(place: Place, node: Node) -> None:
    place.redis.delete(f"table:{rows_of(LARGE)[0].table}")
    status, body = await node.renew(SERVERS[LARGE])
    assert status == 400
    assert b"belongs to no known table" in body


async def test_a_confirmed_epoch_is_kept_and_comes_back_with_the_membership(node: Node) -> None:
    first, second = SERVERS[:2]
    async with node.http.post(f"http://{node.renewal}/confirm/{first}?epoch=1") as response:
        assert response.status == 204
    assert await node.call("GET", f"/confirmed?servers={first},{second},s-9999") == (
        200,
        {first: 1, second: 0, "s-9999": 0},
    )
    assert await node.call("GET", "/confirmed") == (200, {})
    assert (await node.membership(first)).confirmed == 1
    for bad in ("", "?epoch=", "?epoch=-1", "?epoch=x", "?epoch=%C2%B2"):
        async with node.http.post(f"http://{node.renewal}/confirm/{first}{bad}") as response:
            assert response.status == 400, bad


async def test_a_confirmation_of_an_unknown_server_is_refused_and_leaves_no_trace(place: Place, node: Node) -> None:
    before = set(place.redis.keys())
    async with node.http.post(f"http://{node.renewal}/confirm/s-9999?epoch=1") as response:
        assert (response.status, await response.json()) == (404, {"error": "no server s-9999 in cell-0"})
    assert set(place.redis.keys()) == before


async def test_a_renewal_leaves_no_connection_behind(node: Node) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(f"GET /membership/{SERVERS[0]} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE_S):
        answer = await reader.read()  # to the end of the stream: the node closed it
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()

"""What a customer waits for: GetItem, PutItem and Query through the front end and at two peers; a new index.

`python benchmarks/tables.py [--seconds N]` starts a world of 800 servers, then moto's server, then dynalite if npm can
get it, each when the one before it is gone, so that none disturbs the next. Every one gets the same arrivals, 100
requests/s open loop: latency counts from the instant a request was due. The peers are single processes without
replication: what they do not do, they do not wait for. In the world an index is then added to each of three tables
of about 7,000 partitions. Nothing is asserted: the targets are printed beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from healthy import world

from cellwall_lab import children, verbs
from cellwall_lab.backends.processes import free_port
from cellwall_services.heap import settle

RATE_RPS = 100.0
ITEMS = 100  # of one page
KEYS = 500
UP_S = 120.0
TABLE, WORLD = "benchmark", "cellwall"
TARGETS_MS = {"GetItem": 15, "PutItem": 15, "Query": 25}  # p99, of the world
INDEX_S = 20  # target for a new index of a table of 7,000 partitions
INDEX_DEADLINE_S = 120.0
# The reference world, but for the number of customers: fewer of them have larger tables, of the same number of
# partitions in all. No load but the benchmark's own.
WORLD_SETTINGS = ["seed=1", "fleet.customers_per_group=1", "load.rps=0"]
LARGE = ("customer-003-0/table-0", "customer-014-0/table-0", "customer-005-0/table-0")  # 6,956, 7,232, 7,372 partitions
LATE_S = 0.05  # guess: a generator that sends later than this measured itself, and the row is void
HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Date": "20150920T021900Z",  # dynalite wants one
    "Authorization": "AWS4-HMAC-SHA256 Credential=benchmark/20150920/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=unsigned",
}


class Measured(NamedTuple):
    latencies_s: list[float]
    late_s: list[float]
    failed: int


class Peer:
    """One endpoint, as a customer."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def call(self, op: str, **body: Any) -> tuple[int, dict[str, Any]]:
        headers = HEADERS | {"X-Amz-Target": f"DynamoDB_20120810.{op}"}
        async with self._session.post(self._url, data=json.dumps(body), headers=headers) as response:
            return response.status, json.loads(await response.read())

    async def until(self, holds: Callable[[int, dict[str, Any]], bool], op: str, **body: Any) -> None:
        """Ask until the answer is as wanted."""
        end_s = time.monotonic() + UP_S
        while time.monotonic() < end_s:
            with contextlib.suppress(aiohttp.ClientError, ValueError, KeyError):
                if holds(*await self.call(op, **body)):
                    return
            await asyncio.sleep(0.2)
        raise SystemExit(f"tables: {self._url}: {op} is not answered as it should be")

    async def prepare(self) -> None:
        """A new table; ``KEYS`` items to get, and one partition key with a page of items to query."""
        await self.until(lambda status, _: status == 200, "ListTables")
        keys = [("pk", "HASH", "S"), ("sk", "RANGE", "N")]
        schema = [{"AttributeName": name, "KeyType": kind} for name, kind, _ in keys]
        defined = [{"AttributeName": name, "AttributeType": of} for name, _, of in keys]
        made = {"BillingMode": "PAY_PER_REQUEST", "KeySchema": schema, "AttributeDefinitions": defined}
        await self.call("CreateTable", TableName=TABLE, **made)
        await self.until(lambda _, answer: answer["Table"]["TableStatus"] == "ACTIVE", "DescribeTable", TableName=TABLE)
        for key, sort in [(f"k{n}", 0) for n in range(KEYS)] + [("page", n) for n in range(ITEMS)]:
            await self.until(lambda status, _: status == 200, "PutItem", TableName=TABLE, Item=item(key, sort))

    async def one(self, op: str, number: int) -> bool:
        """One request; whether it was answered as it should be."""
        key = f"k{number % KEYS}"
        if op == "PutItem":
            return (await self.call(op, TableName=TABLE, Item=item(key, 0)))[0] == 200
        if op == "GetItem":
            wanted = {"pk": {"S": key}, "sk": {"N": "0"}}
            return "Item" in (await self.call(op, TableName=TABLE, Key=wanted, ConsistentRead=True))[1]
        where = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "page"}}}
        return (await self.call(op, TableName=TABLE, ConsistentRead=True, **where))[1].get("Count") == ITEMS


def item(key: str, sort: int) -> dict[str, Any]:
    return {"pk": {"S": key}, "sk": {"N": str(sort)}, "note": {"S": "x" * 100}, "count": {"N": "42"}}


async def measure(peer: Peer, op: str, for_s: float) -> Measured:
    """Open loop: arrivals do not wait for answers. The same seed for all, so the same instants."""
    rng = random.Random(1)
    start_s, due_s = time.monotonic(), 0.0
    latencies_s: list[float] = []
    late_s: list[float] = []
    failed = 0

    async def request(number: int, at_s: float) -> None:
        nonlocal failed
        late_s.append(time.monotonic() - at_s)
        try:
            good = await peer.one(op, number)
        except (aiohttp.ClientError, TimeoutError):
            good = False
        latencies_s.append(time.monotonic() - at_s)
        failed += not good

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            due_s += rng.expovariate(RATE_RPS)
            if due_s > for_s:
                break
            await asyncio.sleep(start_s + due_s - time.monotonic())
            group.create_task(request(number, start_s + due_s))
    return Measured(sorted(latencies_s), sorted(late_s), failed)


async def compare(name: str, url: str, for_s: float) -> None:
    """Print a row for each operation."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        peer = Peer(session, url)
        await peer.prepare()
        for op, target_ms in TARGETS_MS.items():
            found = await measure(peer, op, for_s)
            ms = [f"{1e3 * at(found.latencies_s, share):.1f}" for share in (0.5, 0.99)]
            ms[1] += f" (≤ {target_ms})" * (name == WORLD)
            late = f"{1e3 * (late_s := at(found.late_s, 0.99)):.1f}" + " (void)" * (late_s > LATE_S)
            figures = (name, op, len(found.latencies_s), *ms, found.failed, late)
            print("|", " | ".join(map(str, figures)), "|", flush=True)


def add_indexes(client: verbs.WorldClient) -> list[str]:
    """A line for each of the large tables."""
    lines = []
    for table in LARGE:
        grown = client.call(verbs.GrowIndexes(tables=[table], deadline_s=INDEX_DEADLINE_S), verbs.StepResult)
        lines.append(f"new index of {table}: {grown.took_s:.1f} s (≤ {INDEX_S}), {grown.outcome}, {grown.reason}")
    out = client.call(verbs.Window(), verbs.WindowStats).servers_out
    return [*lines, f"servers out of service afterwards: {out}"]


def at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def peers(folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Name, port and command of each; without dynalite if this machine has no npm, or npm cannot get it."""
    port = free_port()
    yield "moto", port, [sys.executable, "-m", "moto.server", "-p", str(port)]
    npm = shutil.which("npm")
    if npm and not subprocess.run([npm, "install", "--silent", "--prefix", folder, "dynalite"], check=False).returncode:
        port = free_port()
        yield "dynalite", port, ["node", str(folder / "node_modules" / "dynalite" / "cli.js"), "--port", str(port)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each operation (default: 20)")
    options = parser.parse_args()
    settle()  # the generator's own rounds would be in every endpoint's latencies
    print("| endpoint | operation | requests | p50, ms | p99, ms | failed | sent late, p99 ms |")
    print("|---|---|--:|--:|--:|--:|--:|", flush=True)
    with world("monolith", WORLD_SETTINGS) as (home, client):
        listen = json.loads((home / "configs" / "frontend.json").read_text())["listen"]
        asyncio.run(compare(WORLD, f"http://{listen}", options.seconds))
        indexes = add_indexes(client)
    with tempfile.TemporaryDirectory(prefix="cellwall-peers-") as path:
        for name, port, command in peers(Path(path)):
            process = children.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                asyncio.run(compare(name, f"http://127.0.0.1:{port}", options.seconds))
            finally:
                children.end(process, 10.0)
    print(f"\n{RATE_RPS:g} requests/s open loop; a Query page has {ITEMS} items. moto and dynalite: one process, no")
    print(f"replication; {WORLD}: 800 servers, two of three replicas for every request.\n")
    print("\n".join(indexes))


if __name__ == "__main__":
    main()

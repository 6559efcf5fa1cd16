"""What a customer waits for: GetItem, PutItem and Query through the front end, and at two peers.

`python benchmarks/tables.py [--endpoint URL] [--seconds N]` starts a world of 800 servers unless an endpoint of a
running one is given, moto's server, and dynalite if npm can get it. Every one gets the same arrivals, 100 requests/s
open loop: latency counts from the instant a request was due. One after another, so that none disturbs the next. The
peers are single processes without replication: what they do not do, they do not wait for. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
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

from cellwall.spec import WorldSpec
from cellwall_lab import children, verbs
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.backends.processes import free_port

RATE_RPS = 100.0
ITEMS = 100  # of one page
KEYS = 500
UP_S = 120.0
TABLE = "benchmark"
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


async def compare(urls: dict[str, str], for_s: float) -> None:
    print("| endpoint | operation | requests | p50, ms | p99, ms | failed | sent late, p99 ms |")
    print("|---|---|--:|--:|--:|--:|--:|")
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        for name, url in urls.items():
            peer = Peer(session, url)
            await peer.prepare()
            for op in ("GetItem", "PutItem", "Query"):
                found = await measure(peer, op, for_s)
                ms = [f"{1e3 * at(found.latencies_s, share):.1f}" for share in (0.5, 0.99)]
                late = f"{1e3 * (late_s := at(found.late_s, 0.99)):.1f}" + " (void)" * (late_s > LATE_S)
                figures = (name, op, len(found.latencies_s), *ms, found.failed, late)
                print("|", " | ".join(map(str, figures)), "|", flush=True)
    print(f"\n{RATE_RPS:g} requests/s open loop; a Query page has {ITEMS} items. cellwall: two of three replicas")
    print("for every request. moto and dynalite: one process, no replication.")


def at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextlib.contextmanager
def world(folder: Path) -> Iterator[str]:
    """The reference world, healthy: an outage is not what is measured here."""
    folder.mkdir()
    spec = WorldSpec(seed=1)
    config = ArmConfig(arm="benchmark", backend="local", seed=spec.seed, spec=spec, out=str(folder))
    config.write(folder / "arm.json")
    command = [sys.executable, "-m", "cellwall_lab.backends.local", str(folder / "arm.json")]
    process = children.start(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise SystemExit("tables: the world did not start")
        listen = json.loads((folder / "configs" / "frontend.json").read_text())["listen"]
        yield f"http://{listen}"
        verbs.WorldClient(os.path.relpath(folder / "world.sock")).call(verbs.Stop(audit=False))
    finally:
        children.end(process, 30.0)


def peers(folder: Path, stack: contextlib.ExitStack) -> Iterator[tuple[str, str]]:
    """Name and URL of each, started; without dynalite if this machine has no npm, or npm cannot get it."""
    moto, other = free_port(), free_port()
    commands = {"moto": (moto, [sys.executable, "-m", "moto.server", "-p", str(moto)])}
    npm = shutil.which("npm")
    if npm and not subprocess.run([npm, "install", "--silent", "--prefix", folder, "dynalite"], check=False).returncode:
        cli = folder / "node_modules" / "dynalite" / "cli.js"
        commands["dynalite"] = (other, ["node", str(cli), "--port", str(other)])
    for name, (port, command) in commands.items():
        process = children.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(children.end, process, 10.0)
        yield name, f"http://127.0.0.1:{port}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--endpoint", help="of a running world, e.g. http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each operation (default: 20)")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cellwall-tables-")))
        endpoint = options.endpoint or stack.enter_context(world(folder / "world"))
        urls = {"cellwall": endpoint} | dict(peers(folder, stack))
        asyncio.run(compare(urls, options.seconds))


if __name__ == "__main__":
    main()

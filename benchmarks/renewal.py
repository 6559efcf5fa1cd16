"""What one renewal costs a metadata node: requests per CPU-second of the node, by size of the membership.

`python benchmarks/renewal.py [ROUNDS]` starts a real store and a real node process, fills three memberships, and
asks for them in interleaved rounds, so that a disturbance of the machine meets all sizes alike. It reads the node's
own CPU clock, not the wall: a neighbour's load delays the answers but hardly changes the figure. Medians, no verdict.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import msgspec

from cellwall.model import Assignment, Membership, TableInfo, hash_slice
from cellwall_lab.backends.limiter import cpu_clock
from cellwall_lab.backends.processes import Processes, free_port
from cellwall_services.metadata import store
from cellwall_services.metadata.loader import fill
from cellwall_services.metadata.store import Command

# Records of a membership: requests a round, each round about 0.1 s of the node's CPU.
REQUESTS = {10: 200, 1_000: 12, 10_000: 2}
OUTSTANDING = (1, 16)  # alone, and as a node under load meets them
ROUNDS = 5
NODE = "node"
UP_S = 30.0


def membership(server: str, records: int) -> list[Command]:
    """The store's commands for one server: all partitions of one table, two peers each."""
    table = TableInfo(f"t-{server}", f"table-{server}", "customer", records)
    rows = [
        Assignment(table.id, "", n, *hash_slice(n, records), n % 3, 1, 1, ("s-0001", "s-0002")) for n in range(records)
    ]
    tables = msgspec.json.encode([table.id])
    return [
        store.write_table(table),
        ("HSET", f"server:{server}", "epoch", 1, "confirmed", 0, "count", records, "tables", tables),
        *(("RPUSH", f"list:{server}", store.row(row)) for row in rows),
    ]


async def ask(session: aiohttp.ClientSession, url: str, requests: int, outstanding: int) -> bytes:
    """That many renewals, so many at a time; the last answer."""
    gate = asyncio.Semaphore(outstanding)

    async def one() -> bytes:
        async with gate, session.get(url) as response:
            body = await response.read()
            if response.status != 200:
                raise SystemExit(f"renewal: the node answered {response.status}: {body[:200]!r}")
            return body

    return (await asyncio.gather(*(one() for _ in range(requests))))[-1]


async def wait_until_up(processes: Processes, session: aiohttp.ClientSession, url: str) -> None:
    give_up_s = time.monotonic() + UP_S
    while True:
        try:
            async with session.get(url) as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        processes.check()
        if time.monotonic() > give_up_s:
            raise SystemExit(f"renewal: the node did not come up: {processes.log_tail(NODE)}")
        await asyncio.sleep(0.05)


async def measure(processes: Processes, rounds: int) -> None:
    url = processes.store("cell-0")
    give_up_s = time.monotonic() + UP_S
    while not Path(url.removeprefix("unix://")).exists():
        processes.check()
        if time.monotonic() > give_up_s:
            raise SystemExit("renewal: the store did not come up")
        await asyncio.sleep(0.02)
    names = {records: f"s-{records}" for records in REQUESTS}
    commands = [command for records, name in names.items() for command in membership(name, records)]
    await fill(url, [*commands, ("SET", "version", 1)])

    renewal, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    config = {
        "node": NODE,
        "cell": "cell-0",
        "store_url": url,
        "admin_listen": admin,
        "renewal_listen": renewal,
        "records": str(processes.records / f"{NODE}.ndjson"),
    }
    pid = processes.service(NODE, "cellwall_services.metadata", config)
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=UP_S)) as session:
        await wait_until_up(processes, session, f"http://{admin}/version")
        size = {}
        for records, name in names.items():  # the first requests pay for imports and caches
            body = await ask(session, f"http://{renewal}/membership/{name}", 2, 1)
            size[records] = len(body)
            if msgspec.json.decode(body, type=Membership).count != records:
                raise SystemExit(f"renewal: {name} has not {records} records")
        spent: dict[tuple[int, int], list[float]] = {}
        for _ in range(rounds):
            for outstanding in OUTSTANDING:
                for records, name in names.items():
                    requests = REQUESTS[records]
                    before_s = time.clock_gettime(cpu_clock(pid))
                    await ask(session, f"http://{renewal}/membership/{name}", requests, outstanding)
                    cpu_s = (time.clock_gettime(cpu_clock(pid)) - before_s) / requests
                    spent.setdefault((records, outstanding), []).append(cpu_s)
    print("| records | bytes | at once | requests per CPU-second | range | CPU per request, ms |")
    print("|--:|--:|--:|--:|--:|--:|")
    for (records, outstanding), each in sorted(spent.items()):
        middle = statistics.median(each)
        span = f"{1 / max(each):,.0f} – {1 / min(each):,.0f}"
        columns = (f"{records:,}", f"{size[records]:,}", outstanding, f"{1 / middle:,.0f}", span, f"{middle * 1e3:.2f}")
        print("|", " | ".join(map(str, columns)), "|")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="cellwall-renewal-") as folder:
        # The store's socket is named relative to the working folder.
        before = Path.cwd()
        os.chdir(folder)
        processes = Processes(Path(folder))
        try:
            asyncio.run(measure(processes, rounds))
        finally:
            processes.end_all()
            os.chdir(before)


if __name__ == "__main__":
    main()

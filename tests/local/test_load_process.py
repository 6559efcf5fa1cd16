"""The load generator as a process, against a small honest front end that can be frozen."""

from __future__ import annotations

import itertools
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from cellwall.arrivals import (
    Catalogue,
    CatalogueCustomer,
    CatalogueTable,
    Control,
    LoadConfig,
    rng_seed,
    stream,
)
from cellwall.history import Audit, ProcessSample, Record, Request, decode
from cellwall.keys import key_hash
from cellwall.spec import LoadSpec

from ..waiting import until

ROOT = Path(__file__).parents[2]
SEED = 11

# Registers in memory. Tables named after a trouble answer with it; the write has happened by then.
FRONT = """
import asyncio, json
from aiohttp import web
items = {}
async def handle(request):
    op = request.headers["X-Amz-Target"].split(".")[1]
    who = request.headers["Authorization"].split("Credential=")[1].split("/")[0]
    asked = json.loads(await request.read())
    table = asked["TableName"]
    error = {"busy": (503, "ServiceUnavailable"), "broken": (500, "InternalServerError")}.get(table)
    if error:
        name = "com.amazonaws.dynamodb.v20120810#" + error[1]
        return web.json_response({"__type": name}, status=error[0])
    if table == "dropped":
        request.transport.abort()
    if op == "PutItem":
        items[who, table, asked["Item"]["pk"]["S"]] = asked["Item"]
        return web.json_response({})
    assert op == "GetItem"
    item = items.get((who, table, asked["Key"]["pk"]["S"]))
    return web.json_response({"Item": item} if item else {})
async def main():
    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def catalogue(*tables: str) -> Catalogue:
    rows = tuple(
        CatalogueTable(name=name, id=f"t-{number}", partitions=40, weight=1.0) for number, name in enumerate(tables)
    )
    return Catalogue(customers=(CatalogueCustomer(customer="c-0", weight=1.0, tables=rows),))


@contextmanager
def child(arguments: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def front() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with child([sys.executable, "-c", FRONT]) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process


class Generator:
    """A run folder and the generator's process in it."""

    def __init__(self, folder: Path, port: int, tables: Catalogue, load: LoadSpec, records: str = "") -> None:
        self.folder, self.tables, self.load = folder, tables, load
        self.config = LoadConfig(
            endpoint=f"http://127.0.0.1:{port}",
            seed=SEED,
            load=load,
            catalogue_path=str(folder / "catalogue.json"),
            control_path=str(folder / "control.json"),
            records=records or str(folder / "load.ndjson"),
        )
        (folder / "catalogue.json").write_bytes(msgspec.json.encode(tables))
        (folder / "load.json").write_bytes(msgspec.json.encode(self.config))

    def start(self) -> AbstractContextManager[subprocess.Popen[str]]:
        options = ["--headless", "--users", "1", "--spawn-rate", "1", "--only-summary", "--loglevel", "WARNING"]
        return child(
            [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", *options],
            CELLWALL_LOAD_CONFIG=str(self.folder / "load.json"),
        )

    def control(self, control: Control) -> None:
        new = self.folder / "control.new"
        new.write_bytes(msgspec.json.encode(control))
        new.replace(self.folder / "control.json")

    def records(self) -> list[Record]:
        path = self.folder / "load.ndjson"
        return list(decode(path.read_bytes().splitlines(keepends=True))) if path.exists() else []

    def requests(self) -> list[Request]:
        return [record for record in self.records() if isinstance(record, Request)]


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and stderr; both pipes are read, so that a talkative child cannot hang."""
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


def test_a_freeze_is_seen_as_long_as_it_lasts_and_every_acknowledged_key_is_read_again(
    tmp_path: Path, front: tuple[int, subprocess.Popen[str]]
) -> None:
    port, server = front
    rps, freeze_s, timeout_s = 80.0, 1.5, 1.0
    generator = Generator(tmp_path, port, catalogue("one", "two"), LoadSpec(timeout_s=timeout_s))
    with generator.start() as process:
        generator.control(Control(rps=rps))
        until("80 requests", lambda: len(generator.requests()) >= 80)
        server.send_signal(signal.SIGSTOP)
        from_s = time.time()
        time.sleep(freeze_s)
        until_s = time.time()
        server.send_signal(signal.SIGCONT)
        until("requests after the freeze", lambda: generator.requests()[-1].t > until_s + 1.0)
        generator.control(Control(rps=0, stop=True))
        status, errors = end(process)
    assert status == 0 and "Traceback" not in errors

    records = generator.records()
    requests = sorted((r for r in records if isinstance(r, Request)), key=lambda r: r.t)
    # What was asked for, and in which order, is the plan's, whatever the front end did meanwhile.
    plan = stream(generator.tables, generator.load, key_hash, random.Random(rng_seed(SEED)))
    for planned, request in zip(itertools.islice(plan, len(requests)), requests, strict=True):
        assert (planned.op, planned.customer, planned.table_id, planned.partition, planned.key) == (
            request.op,
            request.customer,
            request.table,
            request.partition,
            request.key,
        )
        if request.op == "put":
            assert request.value == planned.seq

    # Open loop: arrivals went on through the freeze, each as slow as what was left of it when it was due.
    margin_s = 0.1
    frozen = [r for r in requests if from_s + margin_s < r.t < until_s - margin_s]
    assert len(frozen) == pytest.approx(rps * (freeze_s - 2 * margin_s), rel=0.5)
    for request in frozen:
        left_s = until_s - request.t
        assert request.latency_s >= min(left_s, timeout_s) - 0.02
        if left_s > timeout_s + margin_s:
            assert (request.outcome, request.code) == ("unknown", "time-out")
            assert request.latency_s < timeout_s + 1.0
    assert any(r.code == "time-out" for r in frozen) and any(r.outcome == "done" for r in frozen)
    before = [r for r in requests if r.t < from_s - margin_s]
    assert statistics.median(r.latency_s for r in before) < 0.1
    slow_ratio = sum(r.latency_s > 0.5 for r in requests) / len(requests)
    whole_s = requests[-1].t - requests[0].t
    assert slow_ratio == pytest.approx((until_s - from_s - 0.5) / whole_s, rel=0.5)

    # Reads found what some earlier put wrote; the audit asked for every acknowledged key and found it.
    written = {(r.table, r.key, r.value) for r in requests if r.op == "put"}
    assert all((r.table, r.key, r.value) in written for r in requests if r.op != "put" and r.value)
    acknowledged: dict[tuple[str, str], int] = {}
    for r in requests:
        if r.op == "put" and r.outcome == "done":
            acknowledged[r.table, r.key] = max(r.value, acknowledged.get((r.table, r.key), 0))
    audits = [record for record in records if isinstance(record, Audit)]
    assert {(a.table, a.key): a.acknowledged for a in audits} == acknowledged
    assert len(audits) == len(acknowledged) > 0
    puts = {r.value: r for r in requests if r.op == "put"}
    for a in audits:
        assert a.outcome == "done" and (a.table, a.key, a.found) in written
        found, last = puts[a.found], puts[a.acknowledged]
        overlapped = found.t + found.latency_s >= last.t + last.late_s
        assert a.found >= a.acknowledged or found.outcome == "unknown" or overlapped

    samples = [record for record in records if isinstance(record, ProcessSample)]
    assert len(samples) >= 3 and {s.name for s in samples} == {"load"}
    assert samples[-1].cpu_s > 0 and samples[-1].rss_bytes > 1e6 and max(s.lag_s for s in samples) > 0


def test_troubles_keep_their_outcomes_the_cap_counts_and_a_signal_loses_nothing(
    tmp_path: Path, front: tuple[int, subprocess.Popen[str]]
) -> None:
    port, server = front
    cap = 10
    tables = catalogue("fine", "busy", "broken", "dropped")
    generator = Generator(tmp_path, port, tables, LoadSpec(in_flight_cap=cap, timeout_s=30.0))
    with generator.start() as process:
        generator.control(Control(rps=200))
        until("100 requests", lambda: len(generator.requests()) >= 100)
        server.send_signal(signal.SIGSTOP)
        until("the cap", lambda: sum(r.code == "generator-cap" for r in generator.requests()) >= 20)
        process.terminate()
        status, errors = end(process)
    assert status == 0 and "Traceback" not in errors

    requests = generator.requests()
    codes = Counter((r.table, r.op == "put", r.outcome, r.code) for r in requests if r.code)
    ended = {"generator-cap": "refused", "cut-short": "unknown"}
    # Writes and reads differ where nobody can know what became of a write.
    expected = {
        ("t-1", True, "refused", "ServiceUnavailable"),
        ("t-1", False, "refused", "ServiceUnavailable"),
        ("t-2", True, "unknown", "InternalServerError"),
        ("t-2", False, "refused", "InternalServerError"),
        ("t-3", True, "unknown", "connection-lost"),
        ("t-3", False, "refused", "connection-lost"),
    }
    assert {row for row in codes if row[3] not in ended} == expected
    assert all(ended.get(code, outcome) == outcome for _, _, outcome, code in codes)
    # What was in flight at the end was exactly the cap; each of them left its one record, like the others.
    assert sum(r.code == "cut-short" for r in requests) == cap
    plan = stream(tables, generator.load, key_hash, random.Random(rng_seed(SEED)))
    by_due = sorted(requests, key=lambda r: r.t)
    assert [r.key for r in by_due] == [p.key for p in itertools.islice(plan, len(by_due))]


def test_idle_until_told_and_gone_without_an_audit_if_told_so(tmp_path: Path) -> None:
    generator = Generator(tmp_path, 1, catalogue("one"), LoadSpec())  # nobody listens on port 1
    with generator.start() as process:
        until("a sample", lambda: len(generator.records()) >= 1)
        assert generator.requests() == []
        generator.control(Control(rps=100))
        until("requests", lambda: len(generator.requests()) >= 10)
        generator.control(Control(rps=100, stop=True, audit=False))
        status, errors = end(process)
    assert status == 0 and "Traceback" not in errors
    assert {(r.outcome, r.code) for r in generator.requests()} == {("refused", "unreachable")}
    assert not any(isinstance(record, Audit) for record in generator.records())


def test_in_a_pod_its_standard_output_is_records_and_nothing_else(tmp_path: Path) -> None:
    generator = Generator(tmp_path, 1, catalogue("one"), LoadSpec(), records="/dev/stdout")
    with generator.start() as process:
        generator.control(Control(rps=100))
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline() for _ in range(20)]
        generator.control(Control(stop=True))
        lines += process.stdout.readlines()
        errors = process.stderr.read()
        status = process.wait(20)
    records = list(decode(line.encode() for line in lines))
    assert len(records) == len(lines) and {type(record) for record in records} == {Request, ProcessSample}
    assert status == 0 and "Aggregated" in errors  # locust's summary


def test_records_it_cannot_write_end_it_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "load.ndjson").symlink_to("/dev/full")
    generator = Generator(tmp_path, 1, catalogue("one"), LoadSpec())
    with generator.start() as process:
        status, errors = end(process)
    assert status == 1 and "No space left on device" in errors


def test_settings_it_cannot_use_end_it_with_one_line_and_status_3(tmp_path: Path) -> None:
    generator = Generator(tmp_path, 1, Catalogue(customers=()), LoadSpec())
    with generator.start() as process:
        status, errors = end(process)
    assert (status, errors) == (3, "load: catalogue.customers: 0 is not allowed; it must be at least one customer\n")

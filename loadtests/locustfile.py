"""Customers for locust: one User is one seeded open-loop arrival process over all customers.

    CELLWALL_LOAD_CONFIG=load.json locust -f loadtests/locustfile.py \\
        --headless --users 1 --spawn-rate 1 --only-summary --loglevel WARNING

Decides how the generator starts and ends: settings read once (`cellwall.arrivals.LoadConfig`), exit status 0
after a stop or a signal, 1 after a fault of its own, 3 for settings it refuses. Requests that failed are what a
run measures, so they never change the exit status. A second User would repeat the first one's requests.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gevent
import msgspec
from audit import CONCURRENCY, Key, audit
from dynamo_json import Answer
from load_metrics import Metrics
from load_records import Records
from locust import User, events, task
from locust.exception import StopUser
from openloop import Caller, ControlFile, OpenLoop

from cellwall.arrivals import Catalogue, LoadConfig, Planned, rng_seed, stream
from cellwall.errors import Refused
from cellwall.keys import key_hash

CONFIG_VARIABLE = "CELLWALL_LOAD_CONFIG"
EXIT_FAULT, EXIT_USAGE = 1, 3

T = TypeVar("T")


class Generator(NamedTuple):
    """Everything the process holds while it runs."""

    config: LoadConfig
    caller: Caller
    control: ControlFile
    loop: OpenLoop
    records: Records


class Customers(User):
    """Runs the arrival process as its only task, then ends the process."""

    fixed_count = 1

    @task
    def arrivals(self) -> None:
        generator: Generator = self.environment.generator
        writer = gevent.spawn(generator.records.run)
        writer.link_exception(lambda _: self._quit(EXIT_FAULT))
        try:
            _run(generator)
        except Exception:
            logging.exception("load generator")
            self._quit(EXIT_FAULT)
        else:
            self._quit(0)
        raise StopUser

    def _quit(self, status: int) -> None:
        self.environment.process_exit_code = max(status, self.environment.process_exit_code)
        # Not from here: quitting kills this greenlet and waits for it.
        gevent.spawn(self.environment.runner.quit)


def _run(generator: Generator) -> None:
    config, caller, control, loop, records = generator
    loop.run()
    if control.now.audit:

        def read(key: Key) -> Answer:
            return caller.call("get", key.customer, key.table, key.key, 0, config.load.timeout_s)

        audit(loop.acknowledged, read, records.add)


def _prepare(environment: Any, **_: Any) -> None:
    try:
        environment.generator = _generator(environment)
    except Refused as error:
        print(f"load: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    # Set now: a signal may end the process before the arrival process does.
    environment.process_exit_code = 0
    # A full collection of locust's own objects takes several milliseconds, in which nothing is sent.
    gc.collect()
    gc.freeze()


def _finish(environment: Any, **_: Any) -> None:
    generator: Generator = environment.generator
    generator.loop.cut_short()
    generator.records.close()


def _generator(environment: Any) -> Generator:
    config = _read(os.environ.get(CONFIG_VARIABLE, ""), CONFIG_VARIABLE, LoadConfig)
    config.check()
    catalogue = _read(config.catalogue_path, "catalogue_path", Catalogue)
    catalogue.check()
    plan: Iterator[Planned] = stream(catalogue, config.load, key_hash, random.Random(rng_seed(config.seed)))
    caller = Caller(config.endpoint, config.load.in_flight_cap + CONCURRENCY)
    control = ControlFile(Path(config.control_path))
    try:
        records = Records(Path(config.records))
    except OSError as error:
        raise Refused(f"records: cannot write {config.records} ({error.strerror})") from None
    failures: dict[str, RuntimeError] = {}
    metrics = Metrics()

    def report(op: str, late_s: float, latency_s: float, answer: Answer) -> None:
        metrics.ended(op, answer.outcome, late_s, latency_s)
        failure = None
        if answer.outcome != "done":
            # One object per code: locust counts failures by their text.
            failure = failures.setdefault(answer.code, RuntimeError(answer.code))
        environment.events.request.fire(
            request_type="DynamoDB",
            name=op,
            response_time=latency_s * 1000,
            response_length=0,
            exception=failure,
            context={},
        )

    loop = OpenLoop(
        plan,
        caller,
        control,
        records,
        report,
        timeout_s=config.load.timeout_s,
        in_flight_cap=config.load.in_flight_cap,
    )
    metrics.in_flight.set_function(lambda: loop.in_flight)
    if config.metrics_listen:
        metrics.serve(config.metrics_listen)
    return Generator(config, caller, control, loop, records)


def _read(path: str, field: str, kind: type[T]) -> T:
    if not path:
        raise Refused(f"{field}: is not set; it must name a JSON file")
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=kind)
    except OSError as error:
        raise Refused(f"{field}: cannot read {path} ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{field}: {path}: {error}") from None


hooks: Any = events  # locust ships its types, but not those of its hooks
hooks.init.add_listener(_prepare)
hooks.quitting.add_listener(_finish)

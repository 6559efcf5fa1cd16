"""Sends each planned request when it is due, whatever became of the ones before: the open loop itself.

Decides when to send, when a request is given up and what is recorded of it; which request comes next is
`cellwall.arrivals`, what an answer means `dynamo_json`. Never retries, never waits for an answer before the
next arrival. Every planned request leaves exactly one record, also one that was never sent for want of room.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import gevent
import msgspec
from audit import Key
from dynamo_json import CAPPED, CUT_SHORT, TIME_OUT, Answer, Op, answered, body, headers, unanswered
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPParseError
from load_records import Records

from cellwall.arrivals import Control, Pace, Planned
from cellwall.errors import Refused
from cellwall.history import Request

POLL_EVERY_S = 0.1  # of the control file; bounds how late a change of rate is seen (guess)
DRAIN_S = 2.0  # for answers still due at a stop: twice the clients' time-out
NEVER_S = 3600.0  # the client library's own time-outs count per read, not in all; ours decides


class Report(Protocol):
    """Told of every request as it ends (locust's request event)."""

    def __call__(self, op: str, late_s: float, latency_s: float, answer: Answer) -> None: ...


class Caller:
    """A keep-alive pool to one front end. Room for ``connections`` at once; more would wait, so none may."""

    def __init__(self, endpoint: str, connections: int) -> None:
        self._client = HTTPClient.from_url(
            endpoint, concurrency=connections, connection_timeout=NEVER_S, network_timeout=NEVER_S
        )

    def call(self, op: Op, customer: str, table: str, key: str, value: int, timeout_s: float) -> Answer:
        """One request, once. ``timeout_s`` is for everything: connecting, sending and the whole answer."""
        payload = body(op, table, key, value)
        timer = gevent.Timeout.start_new(timeout_s)
        try:
            # The client repeats a request on a broken connection only if its method is idempotent; POST is not.
            response = self._client.request("POST", "/", payload, headers(op, customer))
            return answered(op, response.status_code, response.read())
        except gevent.Timeout as hit:
            if hit is not timer:
                raise
            return TIME_OUT
        except (OSError, HTTPParseError) as error:
            return unanswered(op, error)
        finally:
            timer.close()


class ControlFile:
    """Follows the world server's wishes. Parses the file only when it was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self.now = Control()

    def poll(self) -> Control:
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen != self._seen:
                wanted = msgspec.json.decode(self._path.read_bytes(), type=Control)
                wanted.check()
                self.now, self._seen = wanted, seen
        except FileNotFoundError:
            pass  # not written yet: idle
        except msgspec.DecodeError as error:
            raise Refused(f"control_path: {self._path} is not a control file ({error})") from None
        return self.now


class OpenLoop:
    """One arrival process. `run` returns when the control says stop and the answers still due have come."""

    def __init__(
        self,
        plan: Iterator[Planned],
        caller: Caller,
        control: ControlFile,
        records: Records,
        report: Report,
        *,
        timeout_s: float,
        in_flight_cap: int,
    ) -> None:
        self._plan = plan
        self._caller = caller
        self._control = control
        self._records = records
        self._report = report
        self._timeout_s = timeout_s
        self._cap = in_flight_cap
        # Due instants are kept on the monotonic clock and written as Unix time, so that a clock step in
        # the middle of a run moves no arrival and lengthens no latency.
        self._unix_s = time.time() - time.monotonic()
        self._in_flight: dict[int, tuple[Planned, float, float]] = {}
        self._count = 0
        # Highest acknowledged sequence number. Writes are sent in that order, so it is the acknowledged
        # write that began last: see `audit`.
        self.acknowledged: dict[Key, int] = {}

    def run(self) -> None:
        planned = next(self._plan)
        pace = Pace(time.monotonic(), 0.0, planned.gap)
        poll_at_s = 0.0
        while True:
            now_s = time.monotonic()
            while pace.due_s <= now_s:
                self._arrive(planned, pace.due_s)
                planned = next(self._plan)
                pace = pace.arrived(planned.gap)
            if now_s >= poll_at_s:
                control = self._control.poll()
                if control.stop:
                    break
                if control.rps != pace.rps:
                    pace = pace.turned(now_s, control.rps)
                poll_at_s = now_s + POLL_EVERY_S
            # Also when late: without a turn for the others nothing due would be sent.
            gevent.sleep(max(0.0, min(pace.due_s, poll_at_s) - time.monotonic()))
        until_s = time.monotonic() + DRAIN_S
        while self._in_flight and time.monotonic() < until_s:
            gevent.sleep(0.02)
        self.cut_short()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def cut_short(self) -> None:
        """Record what was never answered; the process is ending."""
        for number in list(self._in_flight):
            self._end(number, CUT_SHORT)

    def _arrive(self, planned: Planned, due_s: float) -> None:
        self._count += 1
        self._in_flight[self._count] = (planned, due_s, 0.0)
        if len(self._in_flight) > self._cap:
            self._end(self._count, CAPPED)
        else:
            gevent.spawn(self._send, self._count)

    def _send(self, number: int) -> None:
        if number not in self._in_flight:
            return  # cut short before it was sent
        planned, due_s, _ = self._in_flight[number]
        late_s = time.monotonic() - due_s
        self._in_flight[number] = (planned, due_s, late_s)
        self._records.sent(late_s)
        answer = self._caller.call(
            planned.op, planned.customer, planned.table, planned.key, planned.seq, self._timeout_s
        )
        if number in self._in_flight:
            self._end(number, answer)

    def _end(self, number: int, answer: Answer) -> None:
        planned, due_s, late_s = self._in_flight.pop(number)
        latency_s = time.monotonic() - due_s
        if planned.op == "put" and answer.outcome == "done":
            key = Key(planned.customer, planned.table, planned.table_id, planned.key)
            self.acknowledged[key] = max(planned.seq, self.acknowledged.get(key, 0))
        self._records.add(
            Request(
                t=round(due_s + self._unix_s, 6),
                customer=planned.customer,
                table=planned.table_id,
                partition=planned.partition,
                op=planned.op,
                outcome=answer.outcome,
                latency_s=round(latency_s, 6),
                late_s=round(late_s, 6),
                code=answer.code,
                key=planned.key,
                value=planned.seq or answer.value,
            )
        )
        self._report(planned.op, late_s, latency_s, answer)

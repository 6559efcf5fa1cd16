"""One call to one replica, and what became of it.

Decides which outcome an answer, a refusal or a broken connection is. Never raises, never retries, never
chooses a replica. Invariant I9: this is the border, nothing of aiohttp's errors gets past it.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

import aiohttp
import msgspec

from cellwall.history import Outcome

from ..wire import Get, Got, Put, Range, Ranged, Refusal, Stored
from .metrics import Metrics

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_decode_refusal = msgspec.msgpack.Decoder(Refusal).decode


class Replica(msgspec.Struct, frozen=True):
    server: str
    address: str


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """``body`` only if the outcome is done; ``reason`` only if it is not. ``lacking``: partitions that a refusal is
    about; empty: it is about the server."""

    outcome: Outcome
    reason: str = ""
    body: T | None = None
    lacking: list[str] = []


class Request(msgspec.Struct, Generic[T], frozen=True):
    """A request's body, encoded once for all the replicas that get it, and how its answer is read."""

    verb: str
    body: bytes
    answers: msgspec.msgpack.Decoder[T]


_stored = msgspec.msgpack.Decoder(Stored)
_got = msgspec.msgpack.Decoder(Got)
_ranged = msgspec.msgpack.Decoder(Ranged)


def put(body: Put) -> Request[Stored]:
    return Request("put", _encode(body), _stored)


def get(body: Get) -> Request[Got]:
    return Request("get", _encode(body), _got)


def range_of(body: Range) -> Request[Ranged]:
    return Request("range", _encode(body), _ranged)


class Calls:
    """Sends requests. Calls that outlive what they were made for go on, bounded by the replica's time-out."""

    def __init__(self, session: aiohttp.ClientSession, timeout_s: float, metrics: Metrics) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Answer[object]]] = set()

    def start(self, replica: Replica, request: Request[T]) -> asyncio.Task[Answer[T]]:
        task = asyncio.create_task(self.call(replica, request))
        self._tasks.add(task)  # type: ignore[arg-type]  # a task of some answer is one of any, for holding it
        task.add_done_callback(self._tasks.discard)
        return task

    async def call(self, replica: Replica, request: Request[T]) -> Answer[T]:
        answer = await self._exchange(replica, request)
        self._metrics.replica_calls.labels(request.verb, answer.outcome).inc()
        return answer

    async def close(self) -> None:
        """Let calls that are still on their way end; they are bounded by their time-out."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _exchange(self, replica: Replica, request: Request[T]) -> Answer[T]:
        if not replica.address:
            return Answer("refused", "no address in the cell map")
        url = f"http://{replica.address}/replica/{replica.server}/{request.verb}"
        try:
            async with self._session.post(url, data=request.body, timeout=self._timeout) as response:
                data = await response.read()
        except aiohttp.ClientConnectorError:
            return Answer("refused", "unreachable")  # no connection, so nothing was sent
        except TimeoutError:
            return Answer("unknown", "time-out")
        except (aiohttp.ClientError, OSError):
            return Answer("unknown", "connection lost")
        try:
            if response.status == 200:
                return Answer("done", body=request.answers.decode(data))
            if response.status == 503:
                refusal = _decode_refusal(data)
                return Answer("refused", refusal.reason, lacking=refusal.partitions)
        except msgspec.DecodeError:
            return Answer("unknown", "unreadable answer")
        return Answer("refused" if response.status < 500 else "unknown", f"status {response.status}")

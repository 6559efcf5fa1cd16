"""The data path: one customer request over three replicas.

Decides with `cellwall.quorum` when a request is done, refused or unknown, and asks the replicas for it.
Never retries, and never remembers who was available: each server says for itself. Invariant I6: a
consistent read that saw two versions writes the higher one to a quorum *before* it answers, so that no
later read goes back behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import msgspec

from cellwall import quorum
from cellwall.history import Outcome
from cellwall.quorum import Version

from ..wire import Get, Got, Put, Refusal
from .clock import Clock
from .errors import InternalServerError, ServiceUnavailableError
from .metrics import Metrics

_encode = msgspec.msgpack.Encoder().encode
_decode_got = msgspec.msgpack.Decoder(Got).decode
_decode_refusal = msgspec.msgpack.Decoder(Refusal).decode


class Replica(msgspec.Struct, frozen=True):
    server: str
    address: str


class Answer(msgspec.Struct, frozen=True):
    """One replica's answer; ``got`` only for a read that is done."""

    outcome: Outcome
    reason: str = ""
    got: Got | None = None


class Replicas:
    """Sends puts and gets. Calls that outlive their request go on, bounded by the replica's time-out."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock, timeout_s: float, metrics: Metrics) -> None:
        self._session = session
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._turn = 0

    async def write(self, replicas: Sequence[Replica], partition: str, key: bytes, item: bytes | None) -> None:
        """Store an item (None deletes): returns when a quorum has it, raises when it has not."""
        op: quorum.Op = "put" if item is not None else "delete"
        put = Put(partition, key, self._clock.next(), item)
        answers = await self._ask(op, replicas, "put", _encode(put))
        _settle(op, answers)

    async def read(self, replicas: Sequence[Replica], partition: str, key: bytes) -> bytes | None:
        """A consistent read: the highest version of two answers, on a quorum before it is told."""
        answers = await self._ask("get", replicas, "get", _encode(Get(partition, key)))
        _settle("get", answers)
        held = {server: answer.got for server, answer in answers.items() if answer.got is not None}
        best = max(held.values(), key=_rank)
        self._clock.observe(best.version)
        if best.version is not None and any(got.version != best.version for got in held.values()):
            lacking = [r for r in replicas if r.server not in held or held[r.server].version != best.version]
            await self._repair(lacking, len(replicas) - len(lacking), Put(partition, key, best.version, best.item))
        return best.item

    async def read_any(self, replicas: Sequence[Replica], partition: str, key: bytes) -> bytes | None:
        """An eventually consistent read: one replica after another, beginning with another one each time."""
        self._turn += 1
        body = _encode(Get(partition, key))
        reasons = []
        for step in range(len(replicas)):
            replica = replicas[(self._turn + step) % len(replicas)]
            answer = await self._call(replica, "get", body)
            if answer.got is not None:
                self._clock.observe(answer.got.version)
                return answer.got.item
            reasons.append(f"{replica.server}: {answer.reason}")
        raise ServiceUnavailableError("no replica answered: " + "; ".join(reasons))

    async def close(self) -> None:
        """Let calls that are still on their way end; they are bounded by their time-out."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _repair(self, lacking: Sequence[Replica], holders: int, put: Put) -> None:
        """Write the version read to replicas that lack it, until a quorum holds it."""
        self._metrics.repairs.inc()
        done = holders
        tasks = {self._spawn(replica, "put", _encode(put)) for replica in lacking}
        while tasks and done < quorum.QUORUM:
            finished, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done += sum(task.result().outcome == "done" for task in finished)
        if done < quorum.QUORUM:
            raise ServiceUnavailableError("replicas differ and the newer version could not be written to a quorum")

    async def _ask(self, op: quorum.Op, replicas: Sequence[Replica], verb: str, body: bytes) -> dict[str, Answer]:
        """The answers of all replicas, or of as many as settle the outcome."""
        tasks = {self._spawn(replica, verb, body): replica.server for replica in replicas}
        answers: dict[str, Answer] = {}
        pending = set(tasks)
        while pending:
            finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            answers.update((tasks[task], task.result()) for task in finished)
            if _outcome(op, answers) != "open":
                break
        return answers

    def _spawn(self, replica: Replica, verb: str, body: bytes) -> asyncio.Task[Answer]:
        task = asyncio.create_task(self._call(replica, verb, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _call(self, replica: Replica, verb: str, body: bytes) -> Answer:
        answer = await self._exchange(replica, verb, body)
        self._metrics.replica_calls.labels(verb, answer.outcome).inc()
        return answer

    async def _exchange(self, replica: Replica, verb: str, body: bytes) -> Answer:
        """One call. This is the border: connection errors become outcomes here, and nothing is raised."""
        if not replica.address:
            return Answer("refused", "no address in the cell map")
        url = f"http://{replica.address}/replica/{replica.server}/{verb}"
        try:
            async with self._session.post(url, data=body, timeout=self._timeout) as response:
                data = await response.read()
        except aiohttp.ClientConnectorError:
            return Answer("refused", "unreachable")  # no connection, so nothing was sent
        except TimeoutError:
            return Answer("unknown", "time-out")
        except (aiohttp.ClientError, OSError):
            return Answer("unknown", "connection lost")
        try:
            if response.status == 200:
                return Answer("done", got=_decode_got(data) if verb == "get" else None)
            if response.status == 503:
                return Answer("refused", _decode_refusal(data).reason)
        except msgspec.DecodeError:
            return Answer("unknown", "unreadable answer")
        return Answer("refused" if response.status < 500 else "unknown", f"status {response.status}")


def _rank(got: Got) -> Version:
    return got.version if got.version is not None else Version(-1, 0, "")


def _outcome(op: quorum.Op, answers: dict[str, Answer]) -> str:
    count = {"done": 0, "refused": 0, "unknown": 0}
    for answer in answers.values():
        count[answer.outcome] += 1
    return quorum.outcome(op, count["done"], count["refused"], count["unknown"])


def _settle(op: quorum.Op, answers: dict[str, Answer]) -> None:
    state = _outcome(op, answers)
    if state == "done":
        return
    said = "; ".join(f"{server}: {answer.reason or answer.outcome}" for server, answer in answers.items())
    if state == "unknown":
        raise InternalServerError(f"no quorum; the write may or may not have been stored ({said})")
    raise ServiceUnavailableError(f"no quorum; nothing was stored or read ({said})")

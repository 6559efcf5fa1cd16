"""The data path: one customer request for one item over three replicas.

Decides with `cellwall.quorum` when a request is done, refused or unknown, and asks the replicas for it.
Never retries, and never remembers who was available: each server says for itself. Invariant I6: a
consistent read that saw two versions writes the higher one to a quorum *before* it answers, so that no
later read goes back behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import aiohttp
import msgspec

from cellwall import quorum
from cellwall.quorum import Version

from ..wire import Get, Got, Put, Stored
from . import calls
from .calls import Answer, Calls, Replica, Request
from .clock import Clock
from .errors import InternalServerError, ServiceUnavailableError
from .metrics import Metrics

__all__ = ["Replica", "Replicas", "Written"]

T = TypeVar("T")


class Written(msgspec.Struct, frozen=True):
    """``before``: what each replica of the quorum that answered held until then, if it held anything and the write
    asked to learn it. Every write acknowledged before this one began is among them, or was replaced by one that is;
    a version above ``version`` is of a later write, by which this one is already replaced."""

    version: Version
    before: list[Stored]


class Replicas:
    """Items by key. ``calls`` and ``clock`` are there for `ranges` too."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock, timeout_s: float, metrics: Metrics) -> None:
        self.calls = Calls(session, timeout_s, metrics)
        self.clock = clock
        self._metrics = metrics
        self._turn = 0

    async def write(
        self, replicas: Sequence[Replica], partition: str, key: bytes, item: bytes | None, *, learn: bool = False
    ) -> Written:
        """Store an item (None deletes) as the newest version: returns when a quorum has it, raises when it has not."""
        return await self.write_at(replicas, partition, key, self.clock.next(), item, learn=learn)

    async def write_at(
        self,
        replicas: Sequence[Replica],
        partition: str,
        key: bytes,
        version: Version,
        item: bytes | None,
        *,
        learn: bool = False,
    ) -> Written:
        """The same at a version that the item has already, or that ``clock`` gave out; a higher one that is there
        stays. May be repeated: then this write itself is among what was there ``before``."""
        op: quorum.Op = "put" if item is not None else "delete"
        answers = await self._ask(op, replicas, calls.put(Put(partition, key, version, item, learn)))
        self._settle(op, answers)
        before = [a.body for a in answers.values() if a.body is not None and a.body.version is not None]
        for stored in before:
            self.clock.observe(stored.version)
        return Written(version, before)

    async def read(self, replicas: Sequence[Replica], partition: str, key: bytes) -> bytes | None:
        """A consistent read: the highest version of two answers, on a quorum before it is told."""
        answers = await self._ask("get", replicas, calls.get(Get(partition, key)))
        self._settle("get", answers)
        held = {server: answer.body for server, answer in answers.items() if answer.body is not None}
        best = max(held.values(), key=_rank)
        self.clock.observe(best.version)
        if best.version is not None and any(got.version != best.version for got in held.values()):
            holders = [server for server, got in held.items() if got.version == best.version]
            await self.repair(replicas, holders, Put(partition, key, best.version, best.item))
        return best.item

    async def read_any(self, replicas: Sequence[Replica], partition: str, key: bytes) -> bytes | None:
        """An eventually consistent read: one replica after another, beginning with another one each time."""
        self._turn += 1
        request = calls.get(Get(partition, key))
        reasons = []
        for step in range(len(replicas)):
            replica = replicas[(self._turn + step) % len(replicas)]
            answer = await self.calls.call(replica, request)
            if answer.body is not None:
                self.clock.observe(answer.body.version)
                return answer.body.item
            reasons.append(f"{replica.server}: {answer.reason}")
        raise ServiceUnavailableError("no replica answered: " + "; ".join(reasons))

    async def repair(self, replicas: Sequence[Replica], holders: Sequence[str], newest: Put) -> None:
        """Write the version that was read to the replicas that are not known to hold it, until a quorum does."""
        self._metrics.repairs.inc()
        request = calls.put(newest)
        done = len(holders)
        tasks = {self.calls.start(replica, request) for replica in replicas if replica.server not in holders}
        while tasks and done < quorum.QUORUM:
            finished, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done += sum(task.result().outcome == "done" for task in finished)
        if done < quorum.QUORUM:
            raise ServiceUnavailableError("replicas differ and the newer version could not be written to a quorum")

    async def close(self) -> None:
        """Let calls that are still on their way end."""
        await self.calls.close()

    async def _ask(self, op: quorum.Op, replicas: Sequence[Replica], request: Request[T]) -> dict[str, Answer[T]]:
        """The answers of all replicas, or of as many as settle the outcome."""
        tasks = {self.calls.start(replica, request): replica.server for replica in replicas}
        answers: dict[str, Answer[T]] = {}
        pending = set(tasks)
        while pending:
            finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            answers.update((tasks[task], task.result()) for task in finished)
            if _outcome(op, answers) != "open":
                break
        return answers

    def _settle(self, op: quorum.Op, answers: Mapping[str, Answer[T]]) -> None:
        state = _outcome(op, answers)
        self._metrics.quorums.labels(op, state).inc()
        if state == "done":
            return
        said = "; ".join(f"{server}: {answer.reason or answer.outcome}" for server, answer in answers.items())
        if state == "unknown":
            raise InternalServerError(f"no quorum; the write may or may not have been stored ({said})")
        raise ServiceUnavailableError(f"no quorum; nothing was stored or read ({said})")


def _rank(got: Got) -> Version:
    return got.version if got.version is not None else Version(-1, 0, "")


def _outcome(op: quorum.Op, answers: Mapping[str, Answer[T]]) -> str:
    count = {"done": 0, "refused": 0, "unknown": 0}
    for answer in answers.values():
        count[answer.outcome] += 1
    return quorum.outcome(op, count["done"], count["refused"], count["unknown"])

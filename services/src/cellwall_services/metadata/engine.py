"""The node's engine: takes turns from the core's admission and does the work they stand for.

Decides nothing about order (that is `Admission`); it only carries pages out. Invariant: work for a
caller that has gone stops at the next page if, and only if, the policy says so.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import msgspec

from cellwall.admission import Admission
from cellwall.errors import CellwallError, Refused
from cellwall.spec import MetadataPolicy

from .jobs import Job
from .release import burn
from .store import Command, Store

TURNS_PER_TRIP = 8  # pages read in one round trip to the store; bounds how long the loop is held (about 2 ms)


class Engine:
    """Runs jobs. ``stores``: one connection each for as many round trips in flight, so that the CPU limit and
    not the store's latency bounds the rate."""

    def __init__(self, stores: list[Store], policy: MetadataPolicy, record_cpu_s: float = 0.0) -> None:
        """``record_cpu_s``: what a bad release spends on each record beside the work."""
        self.admission = Admission(policy)
        self.answered = 0
        self.abandoned = 0
        self.records = 0  # bundled so far, for whomever
        self._stores = stores
        self._record_cpu_s = record_cpu_s
        self._ids = itertools.count(1)
        self._jobs: dict[int, tuple[Job, asyncio.Future[None]]] = {}
        self._since: dict[int, float] = {}
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for store in self._stores:
                group.create_task(self._worker(store))

    async def do(self, job: Job, partition: int, *, admin: bool = False) -> bytes:
        """The job's answer. Cancelled when the caller goes; the work then ends or goes on as the policy says."""
        request = next(self._ids)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs[request] = (job, done)
        self._since[request] = time.monotonic()
        self.admission.arrive(request, partition, admin=admin)
        self._work.set()
        try:
            await done
        except asyncio.CancelledError:
            self.abandoned += 1
            # It may have been answered a moment ago.
            if request in self._jobs and self.admission.gone(request):
                self._forget(request)
            self._work.set()  # a slot may have come free
            raise
        return job.body

    def oldest_s(self) -> float:
        """Age of the oldest request in service or waiting, seconds."""
        return time.monotonic() - min(self._since.values()) if self._since else 0.0

    async def _worker(self, store: Store) -> None:
        while True:
            turns: list[tuple[int, Job, list[Command]]] = []
            while len(turns) < TURNS_PER_TRIP and (request := self.admission.next()) is not None:
                job = self._jobs[request][0]
                turns.append((request, job, job.want()))
            if not turns:
                self._work.clear()
                await self._work.wait()
                continue
            wanted = [command for _, _, commands in turns for command in commands]
            try:
                if wanted:
                    answers = await store.execute(wanted)
                else:
                    answers = []
                    await asyncio.sleep(0)  # callers come and go between pages, whether or not the store is asked
            except CellwallError as error:
                for request, _, _ in turns:
                    self._end(request, error)
                continue
            for request, job, commands in turns:
                mine, answers = answers[: len(commands)], answers[len(commands) :]
                if request in self._jobs:
                    self._page(request, job, mine)

    def _page(self, request: int, job: Job, answers: list[Any]) -> None:
        before = job.records
        try:
            complete = job.take(answers)
        except CellwallError as error:
            self._end(request, error)
            return
        except (ValueError, TypeError, msgspec.DecodeError) as error:  # nobody wrote that: it ends this request only
            self._end(request, Refused(f"the store's content cannot be read: {error}"))
            return
        self.records += job.records - before
        burn(self._record_cpu_s * (job.records - before))
        if complete:
            self.answered += 1
            self._end(request, None)
        else:
            self.admission.again(request)
            self._work.set()

    def _end(self, request: int, error: CellwallError | None) -> None:
        entry = self._jobs.get(request)
        if entry is None:
            return
        done = entry[1]
        self.admission.finish(request)
        self._forget(request)
        self._work.set()
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def _forget(self, request: int) -> None:
        del self._jobs[request], self._since[request]

"""When each service is looked at: one task per MetadataService, woken by changes, by the clock and by failures.

Decides the moment of every reconciliation and the pause after one that failed; what is done in it is not its business.
Invariants: one key is never reconciled twice at once; a change that comes while its key is being reconciled is looked
at afterwards; no key waits for another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from random import Random

import msgspec

from .cache import Key

COALESCE_S = 0.2  # changes come in bursts: a Deployment's creation is five events within 100 ms
ATTEMPT_MAX_S = (
    80.0  # above all time-outs of the calls in it, below metrics.STUCK_S: what comes meanwhile waits so long
)
BACKOFF_MIN_S, BACKOFF_MAX_S = 1.0, 60.0
FAILED_GAP_S = 2.0  # a key that fails is looked at no more often, whatever changes: its own writes may be the change
RESYNC_JITTER = 0.25  # of the resync: services that were created together are not looked at together for ever

log = logging.getLogger(__name__)


class Look(msgspec.Struct, frozen=True):
    """What a reconciliation ends with. ``again_s``: when the next is due even if nothing changes; ``now``: it has
    changed something, so look at once; ``failed``: something could not be done."""

    again_s: float | None = None
    now: bool = False
    failed: bool = False


Reconcile = Callable[[Key], Awaitable[Look]]


def backoff_s(failures: int, rng: Random) -> float:
    """1, 2, 4 … 60 s, each times 0.5 to 1.5."""
    return min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(failures - 1, 10)) * rng.uniform(0.5, 1.5)


class Scheduler:
    """``keys``: the services that exist now; a key that is not among them after a look has ``ended``. ``noticed``:
    seconds from a change to the end of the reconciliation that looked at it."""

    def __init__(
        self,
        reconcile: Reconcile,
        keys: Callable[[], Iterable[Key]],
        ended: Callable[[Key], None],
        noticed: Callable[[float], None],
        resync_s: float,
        rng: Random,
        monotonic: Callable[[], float],
    ) -> None:
        self._reconcile = reconcile
        self._keys = keys
        self._ended = ended
        self._noticed = noticed
        self._resync_s = resync_s
        self._rng = rng
        self._monotonic = monotonic
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._woken: dict[Key, float] = {}  # since when; a key that nobody looks at is the oldest change
        self._bells: dict[Key, asyncio.Event] = {}
        self._running = False

    # ------------------------------------------------------------ from outside

    def wake(self, key: Key) -> None:
        """Something about this key has changed."""
        if not self._running:
            return
        self._woken.setdefault(key, self._monotonic())
        if key not in self._tasks:
            self._bells[key] = asyncio.Event()
            self._tasks[key] = asyncio.create_task(self._serve(key), name=f"reconcile {key[0]}/{key[1]}")
        self._bells[key].set()

    def oldest_s(self) -> float:
        """Age of the oldest change that no reconciliation has begun to look at."""
        return self._monotonic() - min(self._woken.values()) if self._woken else 0.0

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self) -> None:
        """Look at every service, and from then on at those that change; until cancelled, and then at none."""
        self._running = True
        try:
            for key in self._keys():
                self.wake(key)
            await asyncio.Event().wait()
        finally:
            self._running = False
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            self._tasks.clear()
            self._woken.clear()
            self._bells.clear()

    # ------------------------------------------------------------ one key

    async def _serve(self, key: Key) -> None:
        bell, failures = self._bells[key], 0
        try:
            while True:
                await asyncio.sleep(COALESCE_S)
                bell.clear()
                since_s = self._woken.pop(key, None)
                look = await self._look(key)
                if since_s is not None and not look.failed:
                    self._noticed(self._monotonic() - since_s)
                if key not in self._keys() and not bell.is_set():
                    return
                failures = failures + 1 if look.failed else 0
                if failures:
                    await asyncio.sleep(FAILED_GAP_S)
                elif look.now:
                    continue
                try:
                    async with asyncio.timeout(self._due_s(look, failures)):
                        await bell.wait()
                except TimeoutError:
                    pass
        finally:
            self._tasks.pop(key, None)
            self._bells.pop(key, None)
            self._woken.pop(key, None)
            self._ended(key)

    def _due_s(self, look: Look, failures: int) -> float:
        """How long to wait for a change at most."""
        due_s = self._resync_s * self._rng.uniform(1 - RESYNC_JITTER, 1 + RESYNC_JITTER)
        if look.again_s is not None:
            due_s = min(due_s, look.again_s)
        return min(due_s, backoff_s(failures, self._rng)) if failures else due_s

    async def _look(self, key: Key) -> Look:
        try:
            async with asyncio.timeout(ATTEMPT_MAX_S):
                return await self._reconcile(key)
        except TimeoutError:
            log.error("%s/%s: a reconciliation took more than %g s and was ended", *key, ATTEMPT_MAX_S)
        except Exception:  # a bug: told, tried again later, and no other service notices
            log.exception("%s/%s: reconciliation failed", *key)
        return Look(failed=True)

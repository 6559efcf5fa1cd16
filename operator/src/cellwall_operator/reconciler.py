"""One reconciliation: observe, plan, apply.

Decides nothing: it hands the cache's values to `plan`, the plan to `apply`, and what became of it to the scheduler.
Its own state is the last plan's: what was refused of it, which the next plan tells in conditions; and what it asked
for, because a plan that is still the same after it was carried out is not brought nearer by haste: it counts as failed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from . import actions
from .actions import Plan
from .apply import Applier
from .cache import Cache, Key
from .errors import Refused
from .http import Pods
from .metrics import Metrics
from .objects import Installation, Observed
from .scheduler import Look

MakePlan = Callable[[Observed, float], Plan]


class Reconciler:
    def __init__(
        self, cache: Cache, pods: Pods, applier: Applier, plan: MakePlan, installation: Installation, metrics: Metrics
    ) -> None:
        self._cache = cache
        self._pods = pods
        self._applier = applier
        self._plan = plan
        self._installation = installation
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, "plan")  # one: plans share caches
        self._refused: dict[Key, dict[str, str]] = {}  # of the last plan, by track: the next one tells it in conditions
        self._last: dict[Key, bytes] = {}  # the wanted changes of the last plan that changed something

    async def reconcile(self, key: Key) -> Look:
        started_s = time.perf_counter()
        await self._pods.meet(key)
        observed = self._pods.observed(key, self._cache.observed(key, self._installation))
        observed = msgspec.structs.replace(observed, refused=self._refused.get(key, {}))
        # In a thread: the layout of a large fleet takes seconds, and the lease is renewed meanwhile.
        plan = await asyncio.get_running_loop().run_in_executor(self._thread, self._plan, observed, time.time())
        self._pods.ask(key, plan.ask)
        outcome = await self._applier.carry_out(key, plan)
        again = bool(outcome.changed) and self._repeats(key, plan)
        if not outcome.changed:
            self._last.pop(key, None)
        failed = bool(outcome.failures) or again
        refused = {track: str(error) for track, error in outcome.failures.items() if isinstance(error, Refused)}
        again_s = plan.look_again_s if refused == self._refused.get(key, {}) else 0.0  # the next plan tells of it
        self._refused[key] = refused
        told = "failed" if outcome.failures else "repeated" if again else "changed" if outcome.changed else "unchanged"
        self._metrics.reconciled.labels(told).observe(time.perf_counter() - started_s)
        return Look(again_s, now=bool(outcome.changed or outcome.stale), failed=failed)

    def found(self, *, can_resize: bool, definitions: str) -> None:
        """What the cluster was found to be; the next plans go by it."""
        self._installation = msgspec.structs.replace(self._installation, can_resize=can_resize, definitions=definitions)

    def forget(self, key: Key) -> None:
        self._last.pop(key, None)
        self._refused.pop(key, None)
        self._pods.forget(key)

    def _repeats(self, key: Key, plan: Plan) -> bool:
        """Whether this plan asks for the same as the one before, which was carried out."""
        wanted = msgspec.msgpack.encode([a for a in plan.actions if not isinstance(a, actions.Event)])
        before, self._last[key] = self._last.get(key), wanted
        return before == wanted

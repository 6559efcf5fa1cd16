"""What operators do to a world: probe, add a node, pause, resume, set limits and weights.

Decides what each step is, in which cells, and that it is recorded with its outcome; how it is carried out is the
ground's, when it is taken the runbook's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from cellwall import history
from cellwall.errors import Refused, Unavailable, Unknown

from .. import verbs
from .ground import Ground
from .live import Live
from .targets import named_cells, worst


class Steps:
    """The steps of one running world."""

    def __init__(self, ground: Ground, live: Live, record: Callable[[history.Record], None]) -> None:
        self._ground, self._live, self._record = ground, live, record

    async def take(self, verb: Any) -> verbs.StepResult:
        """Carry out a verb that is a step."""
        match verb:
            case verbs.LimitCpu():
                return await self._limit_cpu(verb)
            case verbs.AdminProbe():
                return await self._over_cells("admin-probe", verb.cell, lambda c: self._probe(c, verb.deadline_s))
            case verbs.AddCapacity():
                cell = verb.cell if verb.cell != "*" else ",".join(self._live.sick_cells()) or "*"
                deadline_s = self._deadline_s(verb.deadline_s)
                return await self._over_cells("add-capacity", cell, lambda c: self._ground.add_node(c, deadline_s))
            case verbs.Pause():
                return await self._over_cells("pause", verb.cell, self._pause)
            case verbs.Resume():
                return await self._over_cells("resume", verb.cell, lambda c: self._resume(c, verb.over_s))
            case verbs.Weight():
                return await self._over_cells("weight", verb.cell, lambda c: self._weight(c, verb))
            case _:
                raise Refused(f"{type(verb).__name__}: no such verb here")

    async def _limit_cpu(self, verb: verbs.LimitCpu) -> verbs.StepResult:
        if verb.for_s is not None:
            raise Refused("limit-cpu.for_s: a limit that expires is not offered here; set it again")
        factor = verb.factor
        if factor <= 0:
            raise Refused(f"limit-cpu.factor: {factor!r} is not allowed; it must be > 0")

        async def limit(cell: str) -> verbs.StepResult:
            await self._ground.multiply_limit(cell, factor)
            return verbs.StepResult("done", 0.0)

        return await self._over_cells("limit-cpu", verb.cell, limit)

    async def _over_cells(self, step: str, cells: str, act: Any) -> verbs.StepResult:
        """Carry a step out in several cells at once, and record each."""
        names = named_cells(cells, self._ground.cells)

        async def one(cell: str) -> verbs.StepResult:
            now_s, started_s = time.time(), time.monotonic()
            try:
                result: verbs.StepResult = await act(cell)
            except Unknown as error:
                result = verbs.StepResult("unknown", time.monotonic() - started_s, str(error))
            except (Refused, Unavailable) as error:
                result = verbs.StepResult("refused", time.monotonic() - started_s, str(error))
            took_s = max(result.took_s, time.monotonic() - started_s)
            self._record(
                history.Step(t=now_s, step=step, cell=cell, outcome=result.outcome, took_s=took_s, reason=result.reason)
            )
            return verbs.StepResult(result.outcome, took_s, result.reason)

        return worst(dict(zip(names, await asyncio.gather(*map(one, names)), strict=True)))

    def _deadline_s(self, deadline_s: float | None) -> float:
        return 2 * self._ground.layout.spec.renewal.time_limit_s if deadline_s is None else deadline_s

    async def _probe(self, cell: str, deadline_s: float | None) -> verbs.StepResult:
        started_s = time.monotonic()
        node = self._ground.admins(cell)[0]
        await self._ground.calls.ask("GET", f"{node}/map/0", b"", self._deadline_s(deadline_s), decode=False)
        return verbs.StepResult("done", time.monotonic() - started_s)

    async def _pause(self, cell: str) -> verbs.StepResult:
        await self._ground.pause(cell)
        return verbs.StepResult("done", 0.0)

    async def _resume(self, cell: str, over_s: float | None) -> verbs.StepResult:
        return verbs.StepResult("done", 0.0, await self._ground.resume(cell, over_s))

    async def _weight(self, cell: str, verb: verbs.Weight) -> verbs.StepResult:
        body = msgspec.json.encode({"percent": verb.percent})
        for node in self._ground.admins(cell):
            url = f"{node}/weight/{verb.partition}"
            answer = await self._ground.calls.ask("PUT", url, body, self._deadline_s(None))
            if answer["percent"] != verb.percent:
                raise Unknown(f"weight: asked for {verb.percent:g}, read back {answer['percent']:g}")
        self._ground.weights.setdefault(cell, {})[verb.partition] = verb.percent
        return verbs.StepResult("done", 0.0)

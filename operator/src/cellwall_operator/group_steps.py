"""Steps of moves, asked of cells, and what the cells told.

Decides which answers are kept; never which step is due (`plan.moves`). Each step runs in a task of its own, so a cell
that is overloaded keeps nobody waiting. Invariant: one step of a cell at a time; what is kept is of its youngest move.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from cellwall.moves import Holding

from .actions import GroupStep
from .cache import Key
from .errors import CellwallError
from .objects import Told

Call = Callable[[str, str, str, float, bytes], Awaitable[bytes]]  # (what, method, url, time-out in s, body)

_holding = msgspec.json.Decoder(Holding)

log = logging.getLogger(__name__)


class GroupSteps:
    """``call`` raises `CellwallError`; ``wake(key)``: a cell has answered, or did not in time."""

    def __init__(self, call: Call, wake: Callable[[Key], None]) -> None:
        self._call = call
        self._wake = wake
        self._told: dict[Key, dict[str, Told]] = {}
        self._tasks: dict[Key, set[asyncio.Task[None]]] = {}

    def told(self, key: Key) -> dict[str, Told]:
        """By the MetadataCell's name."""
        return dict(self._told.get(key, {}))

    def begin(self, key: Key, step: GroupStep) -> bool:
        """Ask, unless the cell is being asked; whether it was begun."""
        told = self._told.setdefault(key, {})
        before = told.get(step.cell)
        if before is not None and before.running:
            return False
        if before is None or before.move != step.request.move:
            before = Told(step.request.move)
        told[step.cell] = msgspec.structs.replace(before, running=True)
        task = asyncio.create_task(self._ask(key, step, before), name=f"{step.verb} of {step.cell}")
        tasks = self._tasks.setdefault(key, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return True

    def forget(self, key: Key) -> None:
        for task in self._tasks.pop(key, ()):
            task.cancel()
        self._told.pop(key, None)

    async def _ask(self, key: Key, step: GroupStep, before: Told) -> None:
        url = f"http://{step.address}/groups/{step.verb}"
        number = step.request.move
        try:
            body = msgspec.json.encode(step.request)
            holding = _holding.decode(await self._call(step.verb, "POST", url, step.timeout_s, body))
        except (CellwallError, msgspec.MsgspecError) as error:
            log.info("%s/%s: %s of move %d: %s", key[0], step.cell, step.verb, number, error)
            told = Told(number, before.holding, before.at_s, str(error)[:1000], time.time())
        else:
            if step.verb == "look":
                told = Told(number, holding, time.time(), before.trouble, before.trouble_s)
            else:
                log.info("%s/%s: %s of move %d: %s now", key[0], step.cell, step.verb, number, holding.phase)
                told = Told(number, holding, time.time())
        self._told.setdefault(key, {})[step.cell] = told
        self._wake(key)

"""Whose turn it is at a cell: all workflows together ask it for one thing at a time.

Decides when a workflow's request goes out, and which questions become one; never what is asked. Customers may change
a hundred tables at once. Side by side their requests would share a cell's CPU until each ran into its time limit
and was sent again: the event in small, made by ourselves. Invariant: at most one change under way and one question
for confirmations at a cell, however many workflows wait.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from cellwall.errors import CellwallError
from cellwall.model import CellId, ServerId

from ..wire import TableChange
from .admin import Admin

POLL_CONFIRMED_S = 0.5  # guess: servers confirm with their next renewal, seconds to tens of seconds away


class _Question:
    """Of several workflows; answered once for all."""

    def __init__(self) -> None:
        self.servers: set[ServerId] = set()
        self.answer: asyncio.Future[dict[ServerId, int]] = asyncio.get_running_loop().create_future()


class Turns:
    """`Admin`, one request a cell."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._changing: defaultdict[CellId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asking: defaultdict[CellId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._questions: dict[CellId, _Question] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def change_table(self, cell: CellId, change: TableChange) -> dict[ServerId, int]:
        async with self._changing[cell]:
            return await self._admin.change_table(cell, change)

    async def confirmed(self, cell: CellId, servers: Iterable[ServerId]) -> dict[ServerId, int]:
        """The last epoch that each server (and perhaps others) has confirmed, half a second from now or later."""
        question = self._questions.get(cell)
        if question is None:
            question = self._questions[cell] = _Question()
            task = asyncio.create_task(self._ask(cell, question))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        question.servers.update(servers)
        return await asyncio.shield(question.answer)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, cell: CellId, question: _Question) -> None:
        await asyncio.sleep(POLL_CONFIRMED_S)
        async with self._asking[cell]:
            del self._questions[cell]  # from here on another workflow's question is another one
            try:
                found = await self._admin.confirmed(cell, question.servers)
            except CellwallError as error:
                question.answer.set_exception(error)
                question.answer.exception()  # whoever asked may be gone: nobody need look at it
            else:
                question.answer.set_result(found)

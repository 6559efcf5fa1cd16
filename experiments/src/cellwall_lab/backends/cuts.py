"""Network cuts: switched on in the storage hosts, where they end by themselves; receipts fetched.

Decides nothing about a cut's end. Invariant: the history says off only when every host does, with its receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cellwall import history
from cellwall.placement import server_id

from .. import verbs
from .ground import Ground
from .targets import struck

POLL_RECEIPT_S = 0.1
ASK_S = 5.0


class Cuts:
    """The cuts of one running world."""

    def __init__(self, ground: Ground, record: Callable[[history.Record], None]) -> None:
        self._ground, self._record = ground, record
        self._faults: set[asyncio.Task[None]] = set()
        self._cuts = 0

    async def close(self) -> None:
        for task in self._faults:
            task.cancel()
        await asyncio.gather(*self._faults, return_exceptions=True)

    async def cut(self, verb: verbs.Cut) -> verbs.CutOn:
        servers = [server_id(s) for s in struck(verb.targets, self._ground.layout)]
        self._cuts += 1
        name = f"cut-{self._cuts}"
        body = msgspec.json.encode({"id": name, "servers": servers, "for_s": verb.for_s})
        now_s = time.time()
        answers = await self._ask(servers, "PUT", "faults/cut", body)
        off_s = max(answer["off_s"] for answer in answers)
        receipt = {"expires_s": off_s, "servers": sum(answer["servers"] for answer in answers)}
        fault = history.Fault(t=now_s, id=name, fault="cut", state="on", targets=servers, receipt=receipt)
        self._record(fault)
        task = asyncio.create_task(self._await_receipt(fault, off_s))
        self._faults.add(task)
        task.add_done_callback(self._faults.discard)
        return verbs.CutOn(name, len(servers))

    async def _await_receipt(self, fault: history.Fault, off_s: float) -> None:
        """Wait until every host says that the cut is over, and record what it did. It ends without us."""
        await asyncio.sleep(max(0.0, off_s - time.time()))
        while True:
            answers = await self._ask(fault.targets, "GET", "faults")
            if not any(state["id"] == fault.id for states in answers for state in states):
                break
            await asyncio.sleep(POLL_RECEIPT_S)
        # Off already, so asking it off only fetches the receipt.
        ends = await self._ask(fault.targets, "DELETE", f"faults/{fault.id}")
        receipt = {"servers": sum(e["servers"] for e in ends), "refused": sum(e["refused"] for e in ends)}
        off = history.Fault(
            t=max(e["off_s"] for e in ends),
            id=fault.id,
            fault="cut",
            state="off",
            targets=fault.targets,
            receipt=receipt,
        )
        self._record(off)

    async def _ask(self, servers: Sequence[str], method: str, path: str, body: bytes = b"") -> list[Any]:
        """The same of every host that carries one of these servers."""
        hosts = self._ground.hosts(servers)
        return await asyncio.gather(*(self._ground.calls.ask(method, f"{h}/{path}", body, ASK_S) for h in hosts))

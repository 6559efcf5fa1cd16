"""Network cuts in a local world: switched on in the storage hosts, where they end by themselves; receipts fetched.

Decides nothing about a cut's end. Invariant: the history says off only when every host does, with its receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from cellwall import history
from cellwall.placement import server_id

from .. import verbs
from .http_calls import Calls
from .running import Running
from .targets import struck

POLL_RECEIPT_S = 0.1


class Cuts:
    """The cuts of one running world."""

    def __init__(self, running: Running, calls: Calls, record: Callable[[history.Record], None]) -> None:
        self._run, self._calls, self._record = running, calls, record
        self._faults: set[asyncio.Task[None]] = set()
        self._cuts = 0

    async def close(self) -> None:
        for task in self._faults:
            task.cancel()
        await asyncio.gather(*self._faults, return_exceptions=True)

    async def cut(self, verb: verbs.Cut) -> verbs.CutOn:
        servers = [server_id(s) for s in struck(verb.targets, self._run.layout)]
        self._cuts += 1
        name = f"cut-{self._cuts}"
        body = msgspec.json.encode({"id": name, "servers": servers, "for_s": verb.for_s})
        now_s = time.time()
        answers = await asyncio.gather(
            *(self._calls.ask("PUT", f"{host}/faults/cut", body, 5.0) for host in self._run.hosts.values())
        )
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
            answers = await asyncio.gather(
                *(self._calls.ask("GET", f"{host}/faults", b"", 5.0) for host in self._run.hosts.values())
            )
            if not any(state["id"] == fault.id for states in answers for state in states):
                break
            await asyncio.sleep(POLL_RECEIPT_S)
        # Off already, so asking it off only fetches the receipt.
        ends = await asyncio.gather(
            *(self._calls.ask("DELETE", f"{host}/faults/{fault.id}", b"", 5.0) for host in self._run.hosts.values())
        )
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

"""What the world server asks its services for the verb `fleet`: the nodes' statistics and the tables in flight.

Decides how often and how long it asks: both are requests to what may be overloaded, so they are few, bounded, and
made only while somebody looks. No answer is an answer. Invariant: `look` returns within ASK_S, whatever starves.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cellwall.errors import CellwallError

from .fleet_view import CellFacts, Retrieval, newest
from .ground import Ground

ASK_S = 1.0  # guess: a viewer's patience; half the time limit of the reference set
EVERY_S = 2.0  # guess: one such request costs a node under a millisecond of its 100-ms quota


class FleetWatch:
    """The last answers of a running world's services."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._looking = asyncio.Lock()
        self._looked_s = float("-inf")
        self._retrievals: dict[str, dict[str, Retrieval]] = {}
        self._tables: list[dict[str, Any]] = []

    async def look(self) -> tuple[dict[str, CellFacts], list[dict[str, Any]]]:
        """Each cell's facts, and the tables in flight; asks anew if the last answers are old."""
        async with self._looking:
            if time.monotonic() - self._looked_s >= EVERY_S:
                cells = list(self._ground.cells)
                told, self._tables = await asyncio.gather(
                    asyncio.gather(*map(self._statistics, cells)), self._in_flight()
                )
                self._retrievals = dict(zip(cells, told, strict=True))
                self._looked_s = time.monotonic()
        return {cell: self._facts(cell) for cell in self._ground.cells}, self._tables

    def _facts(self, cell: str) -> CellFacts:
        ground = self._ground
        return CellFacts(
            nodes=ground.nodes(cell),
            limit_cores=ground.limit_cores(cell),
            paused=cell in ground.paused,
            weights=ground.weights.get(cell, {}),
            retrievals=self._retrievals.get(cell, {}),
        )

    async def _statistics(self, cell: str) -> dict[str, Retrieval]:
        nodes = self._ground.admins(cell)
        return newest(await asyncio.gather(*(self._ask(f"{node}/statistics", {}) for node in nodes)))

    async def _in_flight(self) -> list[dict[str, Any]]:
        found = await self._ask(f"{self._ground.frontend}/workflows", [])
        return found if isinstance(found, list) else []

    async def _ask(self, url: str, otherwise: Any) -> Any:
        try:
            return await self._ground.calls.ask("GET", url, b"", ASK_S)
        except CellwallError:
            return otherwise

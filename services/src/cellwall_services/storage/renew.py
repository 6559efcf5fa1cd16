"""One attempt of one server: ask for the membership, read it, make local data match it.

Decides the order of these steps and what their errors mean for the agent (the reasons of a failed
renewal). Never decides when to ask, and records nothing. Invariant I9: whatever goes wrong on the way
leaves this page as a `Failure` with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.model import CellEntry, CellMap, NodeId

from .calls import Calls
from .engine import Declined
from .membership import Answer, Slim, assignments, compare, read
from .metrics import Metrics
from .replicate import replicate
from .server import Attempt, Server

PORTION = 500  # partitions created or dropped between two yields: below 2 ms of the loop

log = logging.getLogger(__name__)


class Failure(Exception):
    """An attempt came to nothing; ``reason`` as in `history.Renewal`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Renewer:
    def __init__(self, calls: Calls, metrics: Metrics) -> None:
        self._calls = calls
        self._metrics = metrics

    async def renew(
        self, server: Server, attempt: Attempt, limit_s: float, cell_map: CellMap, retrieved: Callable[[Answer], bool]
    ) -> Answer:
        """Ask, read, verify. ``retrieved`` hears of the answer before local data change, and may refuse it."""
        try:
            cell, node = self._node(server, cell_map)
            answer = read(await self._calls.membership(cell, node, server.id, limit_s, attempt.meter), server.id)
            version = (answer.epoch, answer.digest())
            # The usual renewal: the list that local data were found to match, and nothing lost since.
            unchanged = version == server.verified and len(server.store.held) == answer.count
            assigned = {} if unchanged else assignments(answer)
        except Unknown:
            raise Failure("time-out") from None
        except Declined:
            raise Failure("verify") from None
        except Unavailable:
            raise Failure("unreachable") from None
        except Refused as error:
            log.warning("%s", error)
            raise Failure("mismatch") from None
        if not retrieved(answer):
            raise Failure("stale-epoch")
        if not unchanged:
            try:
                await self._verify(server, assigned, answer.confirmed, cell_map)
            except CellwallError as error:
                log.warning("%s: %s", server.id, error)
                raise Failure("verify") from None
            server.verified, server.count = version, answer.count
        return answer

    async def _verify(self, server: Server, assigned: Mapping[str, Slim], confirmed: int, cell_map: CellMap) -> None:
        """Make local data match: create, drop, replicate. Raises if something is still lacking."""
        work = compare(assigned, confirmed, server.store.held)
        for names in portions(list(work.create)):
            server.store.create({name: work.create[name] for name in names})
            await asyncio.sleep(0)
        for names in portions(work.drop):
            server.store.drop(names)
            await asyncio.sleep(0)
        if work.fetch:
            # Those away in between may have missed writes: a read must not count on them meanwhile.
            server.store.withhold([name for name in work.fetch if name in server.store.held])
            still = await replicate(server.id, work.fetch, server.store, cell_map, self._calls)
            self._metrics.replicated.inc(len(work.fetch) - still)
            if still:
                raise Unavailable(f"{still} of {len(work.fetch)} lacking partitions could not be replicated")

    async def confirm(self, server: Server, epoch: int, limit_s: float, cell_map: CellMap) -> None:
        """Best effort: what is not confirmed now is after the next renewal."""
        with contextlib.suppress(CellwallError):
            cell, node = self._node(server, cell_map)
            await self._calls.confirm(cell, node, server.id, epoch, limit_s)

    def _node(self, server: Server, cell_map: CellMap) -> tuple[CellEntry, NodeId]:
        cell = None if server.entry is None else cell_map.cells.get(server.entry.cell)
        if server.entry is None or cell is None:
            raise Unavailable(f"{server.id}: not in map version {cell_map.version}")
        return cell, self._calls.node_for(cell, server.entry.partition)


def portions(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), PORTION):
        yield names[start : start + PORTION]

"""The last minutes of a running world, read once a second for all who watch.

Decides what is remembered of each moment, and that a viewer who comes late or reads slowly gets every point it has
not seen. Changes nothing. Invariant: asks only while somebody watches, because a look at the fleet is a request to
services that may be overloaded; what nobody saw is a gap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from cellwall.errors import CellwallError

from .. import verbs
from ..backends.server import World
from .view import condition

EVERY_S = 1.0
KEEP = 301  # points: five minutes and both ends


class Point(msgspec.Struct, frozen=True):
    """What a time axis shows of one moment. A ratio of nothing is None, and so is a retrieval that nobody got."""

    t: float
    out_ratio: float
    failed_ratio: float | None
    retrieval_s: float | None  # the slowest cell's, of its largest membership
    phase: str
    faults: list[str]
    paused: bool


class News(msgspec.Struct, frozen=True):
    """``points``: those that this viewer has not seen. ``fleet``: as last read, and its ``condition`` in a word; None
    and "": never yet. ``trouble``: why it is not newer."""

    points: list[Point]
    fleet: verbs.FleetState | None
    condition: str
    trouble: str


def point(fleet: verbs.FleetState) -> Point:
    """This moment, as the time axis will remember it."""
    window, cells = fleet.window, fleet.cells.values()
    retrievals_s = [cell.largest_retrieval_s for cell in cells if cell.largest_retrieval_s is not None]
    return Point(
        t=fleet.now_s,
        out_ratio=sum(server.state != "in" for server in fleet.servers) / max(1, len(fleet.servers)),
        failed_ratio=window.requests_failed / window.requests if window.requests else None,
        retrieval_s=max(retrievals_s, default=None),
        phase=fleet.phase,
        faults=sorted({fault.fault for fault in fleet.faults}),
        paused=any(cell.paused for cell in cells),
    )


class Recent:
    """The one reader of a world, for any number of viewers."""

    def __init__(self, world: World, keep: int = KEEP) -> None:
        self._world = world
        self._points: deque[Point] = deque(maxlen=keep)
        self._taken = 0  # points in all, also those forgotten
        self.fleet: verbs.FleetState | None = None
        self._trouble = ""
        self._turn = 0
        self._ended = False
        self._changed = asyncio.Condition()
        self._viewers = 0
        self._watched = asyncio.Event()  # while there are any

    async def keep_reading(self) -> None:
        while True:
            if not self._viewers:
                self.fleet = None  # the next viewer shall not take it for the present
            await self._watched.wait()
            await self.read()
            await asyncio.sleep(EVERY_S)

    async def read(self) -> None:
        """Look once, and wake all viewers."""
        try:
            self.fleet = await self._world.carry_out(verbs.Fleet())
            self._points.append(point(self.fleet))
            self._taken += 1
            self._trouble = ""
        except CellwallError as error:
            self._trouble = str(error)
        await self._wake()

    async def current(self) -> verbs.FleetState:
        """The fleet as the viewers see it; asked for if there are none."""
        if self._viewers and self.fleet is not None:
            return self.fleet
        state: verbs.FleetState = await self._world.carry_out(verbs.Fleet())
        return state

    async def end(self) -> None:
        """The world is over: every viewer's `news` ends."""
        self._ended = True
        await self._wake()

    async def news(self) -> AsyncGenerator[News, None]:
        """For one viewer: what there is at once, then each change. A slow viewer gets several in one. To be closed
        when the viewer goes."""
        self._viewers += 1
        self._watched.set()
        try:
            seen = turn = 0
            while not self._ended:
                if turn != self._turn:
                    turn, unseen, seen = self._turn, self._taken - seen, self._taken
                    points = list(self._points)
                    word = condition(self.fleet) if self.fleet else ""
                    yield News(points[max(0, len(points) - unseen) :], self.fleet, word, self._trouble)
                async with self._changed:
                    while self._turn == turn:
                        await self._changed.wait()
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._watched.clear()

    async def _wake(self) -> None:
        async with self._changed:
            self._turn += 1
            self._changed.notify_all()

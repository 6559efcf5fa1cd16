"""What a running world stands on: the seam between the verbs, the same everywhere, and where its services run.

Decides nothing: it names what `world`, `steps`, `cuts` and `fleet_watch` need of a place, processes on this machine
(`local_ground`) or pods in a cluster (`cluster.ground`). Invariant: whoever implements it records nothing about a verb
by itself; a step's outcome and a fault's receipt are written in one place for all.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cellwall.placement import Layout
from cellwall.spec import Mode

from ..verbs import Kill, StepResult
from .config import ArmConfig
from .live import Live
from .recorder import Recorder


class Asks(Protocol):
    """One request with one deadline to a service, by an address that the ground gave."""

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes,
        timeout_s: float,
        *,
        decode: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...


class Struck(msgspec.Struct, frozen=True):
    """A failure that is on. ``receipt``: what is gone or replaced; ``back``: undo it, see it undone, and say what is
    there now; ``by_itself``: what is gone comes back without us, and ``back`` only sees it; ``servers``: those it
    strikes, where only the ground knows."""

    receipt: dict[str, Any]
    back: Callable[[], Awaitable[dict[str, Any]]]
    by_itself: bool = False
    servers: list[str] = []


class Ground(abc.ABC):
    """A world that has been brought up. ``folder`` is the arm's; ``records`` are where its services' records arrive."""

    def __init__(self, config: ArmConfig, layout: Layout, recorder: Recorder, calls: Asks) -> None:
        self.config, self.layout, self.recorder, self.calls = config, layout, recorder, calls
        self.folder = Path(config.out)
        self.records = self.folder / "records"
        self.paused: set[str] = set()  # cells whose renewals are closed
        self.weights: dict[str, dict[int, float]] = {}  # of each cell's metadata partitions, where one was set

    # ------------------------------------------------------------ what is there

    @property
    @abc.abstractmethod
    def cells(self) -> Collection[str]: ...

    @property
    @abc.abstractmethod
    def frontend(self) -> str:
        """The front end's address, for questions of ours."""

    @abc.abstractmethod
    def nodes(self, cell: str) -> int:
        """How many nodes serve the cell."""

    @abc.abstractmethod
    def admins(self, cell: str) -> list[str]:
        """Addresses of the cell's administration, of one node each."""

    @abc.abstractmethod
    def limit_cores(self, cell: str) -> float:
        """The CPU limit of the cell's nodes together, as it is in force."""

    @abc.abstractmethod
    def host(self, server: str) -> str | None:
        """The address of the storage host that carries a server; None if there is no such server."""

    @abc.abstractmethod
    def hosts(self, servers: Sequence[str]) -> list[str]:
        """Addresses of the storage hosts that carry any of these servers, and perhaps of others."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raises Unavailable if a part of the world has ended unasked."""

    @abc.abstractmethod
    def watches(self, live: Live) -> list[Coroutine[Any, Any, None]]:
        """What must run beside the world until it is closed."""

    # ------------------------------------------------------------ what can be done

    @abc.abstractmethod
    async def set_limits(self, live: Live) -> None:
        """The fleet is in: let customers come, see what a record costs under load, limit the metadata service, and
        record the world."""

    @abc.abstractmethod
    async def control(self, *, rps: float, stop: bool = False, audit: bool = True) -> None:
        """Tell the load generator."""

    @abc.abstractmethod
    async def load_ended(self, within_s: float) -> str:
        """Wait for the load generator, which was told to stop. Returns what went wrong, or nothing."""

    @abc.abstractmethod
    async def door(self) -> tuple[str, Asks]:
        """The customers' door, and who may knock there in a customer's name."""

    @abc.abstractmethod
    async def multiply_limit(self, cell: str, factor: float) -> None:
        """Multiply the CPU limit of the cell's nodes, and see it in force."""

    @abc.abstractmethod
    async def add_node(self, cell: str, deadline_s: float) -> StepResult:
        """One attempt at one more node; ``deadline_s`` for each administrative request."""

    @abc.abstractmethod
    async def pause(self, cell: str) -> None:
        """Close the cell's renewals from outside its nodes, and see them closed."""

    @abc.abstractmethod
    async def resume(self, cell: str, over_s: float | None) -> str:
        """Publish the waves, see the hosts follow, open the renewals. Returns what was published, in words."""

    # ------------------------------------------------------------ what can fail

    @abc.abstractmethod
    def carried_by(self, host: str) -> list[str]:
        """The servers that a storage host carries. Refused if there is no such host."""

    @abc.abstractmethod
    async def kill(self, verb: Kill) -> Struck:
        """End the processes that are meant, and see them gone."""

    @abc.abstractmethod
    async def lose_node(self, node: str, for_s: float) -> Struck:
        """Stop a machine, and see it gone. It comes back after ``for_s`` even if nobody is left to ask for it."""

    @abc.abstractmethod
    async def roll(self, cell: str, mode: Mode) -> Struck:
        """Replace the cell's nodes by ones of this release. Undone, all are of the good one."""

    @abc.abstractmethod
    async def end(self) -> None:
        """End everything. Safe to call again."""

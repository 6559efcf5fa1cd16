"""What the kernel is told and what it answers: plain values and flat arrays.

Decides the forms and which input means something (`check`); computes nothing. Instants and spans are whole
nanoseconds from the start of the world. Servers, cells, accounts are numbers: positions in the arrays.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from cellwall.capacity import Costs
from cellwall.errors import Refused
from cellwall.spec import MetadataPolicy, RenewalPolicy

from ..backends.timeline import DELAY_NS

Ints: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]
Floats: TypeAlias = npt.NDArray[np.float64]

PARTS = 1_000_000  # an account's targets share its requests in millionths: whole numbers add up exactly

# ---------------------------------------------------------------- what is done to the world


class Cut(msgspec.Struct, frozen=True):
    """These servers are unreachable from ``at_ns`` on, for ``for_ns``. Cuts may overlap."""

    at_ns: int
    for_ns: int
    servers: tuple[int, ...]


class Limit(msgspec.Struct, frozen=True):
    """Multiply the CPU limit of every node of a cell."""

    at_ns: int
    cell: int
    factor: float


class Pause(msgspec.Struct, frozen=True):
    """Close a cell's renewal listener."""

    at_ns: int
    cell: int


class Resume(msgspec.Struct, frozen=True):
    """Open it; servers that are out enter in waves over ``over_ns``. A world starts with one of these."""

    at_ns: int
    cell: int
    over_ns: int


class Weight(msgspec.Struct, frozen=True):
    """A metadata partition's traffic weight in one cell, percent of its slots."""

    at_ns: int
    cell: int
    partition: int
    percent: float


Action: TypeAlias = Cut | Limit | Pause | Resume | Weight

# ---------------------------------------------------------------- the input


class Accounts(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Whose requests are counted, and where they go. An account is a customer (or whatever the caller counts by).

    Target i is one key's partition: ``servers[i]`` are its three replicas, ``account[i]`` is whose it is, and
    ``parts[i]`` how many millionths of the account's requests go there; an account's parts make PARTS together.
    ``weight[a]``: the account's share of the offered load, in any unit. ``eventual_ratio``: the share of requests
    that one replica can answer; all others need two.
    """

    servers: Ints  # targets × 3
    account: Ints
    parts: Ints
    weight: Floats
    eventual_ratio: float = 0.2


class KernelInput(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One world, what is done to it, and how it is measured."""

    cell: Ints  # by server
    partition: Ints  # by server: its metadata partition
    records: Ints  # by server: its membership
    chance: Words  # by server: where its stream of random numbers begins (`backends.chance`)
    cores: Floats  # cells × nodes: the CPU limit of each
    renewal: RenewalPolicy
    metadata: MetadataPolicy
    costs: Costs
    accounts: Accounts | None = None
    actions: tuple[Action, ...] = ()  # those at one instant happen in this order, after all else at it
    delay_ns: int = DELAY_NS  # one way through the network
    until_ns: int
    window_ns: int
    trace: bool = False

    def check(self) -> None:
        """Refuse an input that names what is not there. The policies' own rules are `WorldSpec.check`'s."""
        servers, (cells, nodes) = len(self.cell), self.cores.shape
        _need(servers > 0 and cells > 0 and nodes > 0, "cell, cores", "at least one server, cell and node")
        for name in ("partition", "records", "chance"):
            _need(len(getattr(self, name)) == servers, name, f"one for each of the {servers} servers")
        _need(_within(self.cell, cells), "cell", f"in 0..{cells - 1}")
        _need(_within(self.partition, self.metadata.partitions), "partition", f"in 0..{self.metadata.partitions - 1}")
        _need(bool((self.records >= 0).all()), "records", ">= 0")
        _need(bool((self.cores > 0).all()), "cores", "> 0")
        _need(self.until_ns >= 0, "until_ns", ">= 0")
        _need(0 < self.window_ns <= WINDOW_MOST_NS, "window_ns", f"in 1..{WINDOW_MOST_NS}: two hours and a half")
        _need(self.delay_ns > 0, "delay_ns", "> 0")
        _need(self.delay_ns < MOST_NS and self.until_ns < MOST_NS, "until_ns", "below 2^53: 104 days")
        if self.accounts is not None:
            _check_accounts(self.accounts, servers)
        for action in self.actions:
            _check_action(action, servers, cells, self.metadata.partitions)

    @property
    def windows(self) -> int:
        return -(-self.until_ns // self.window_ns)


# Instants pass through floats where the core computes them (its waits are ratios): up to here those are exact.
MOST_NS = 2**53
WINDOW_MOST_NS = 9_000 * 10**9  # times PARTS it is still a 64-bit number


def _within(values: Ints, count: int) -> bool:
    return bool(((values >= 0) & (values < count)).all())


def _check_accounts(accounts: Accounts, servers: int) -> None:
    count = len(accounts.weight)
    _need(accounts.servers.ndim == 2 and accounts.servers.shape[1] == 3, "accounts.servers", "three to a target")
    _need(len(accounts.account) == len(accounts.servers) == len(accounts.parts), "accounts", "one row for each target")
    _need(_within(accounts.servers, servers), "accounts.servers", f"in 0..{servers - 1}")
    _need(_within(accounts.account, count), "accounts.account", f"in 0..{count - 1}")
    a, b, c = accounts.servers.T
    _need(bool(((a != b) & (b != c) & (a != c)).all()), "accounts.servers", "three different ones")
    parts = np.bincount(accounts.account, weights=accounts.parts, minlength=count)
    _need(bool((parts == PARTS).all()), "accounts.parts", f"{PARTS} for every account together")
    _need(0 <= accounts.eventual_ratio <= 1, "accounts.eventual_ratio", "in [0, 1]")


def _check_action(action: Action, servers: int, cells: int, partitions: int) -> None:
    name = type(action).__name__.lower()
    _need(action.at_ns >= 0, f"{name}.at_ns", ">= 0")
    if isinstance(action, Cut):
        named = set(action.servers)
        _need(action.for_ns > 0, "cut.for_ns", "> 0")
        _need(len(named) == len(action.servers), "cut.servers", "named once each")
        _need(all(0 <= s < servers for s in named), "cut.servers", f"in 0..{servers - 1}")
        return
    _need(0 <= action.cell < cells, f"{name}.cell", f"in 0..{cells - 1}")
    match action:
        case Limit():
            _need(action.factor > 0, "limit.factor", "> 0")
        case Resume():
            _need(action.over_ns >= 0, "resume.over_ns", ">= 0")
        case Weight():
            _need(0 <= action.partition < partitions, "weight.partition", f"in 0..{partitions - 1}")
            _need(0 <= action.percent <= 100, "weight.percent", "in 0..100")


def _need(ok: bool, field: str, right: str) -> None:
    if not ok:
        raise Refused(f"kernel: {field}: not allowed; it must be {right}")


# ---------------------------------------------------------------- the answer


class Outcome(IntEnum):
    """What a line of the trace says of its server. The first three end a renewal."""

    DONE = 0
    TIME_OUT = 1
    UNREACHABLE = 2
    IN = 3  # entered service
    OUT = 4  # left it


class Trace(msgspec.Struct, frozen=True, eq=False):
    """Everything that happened to servers, in order: three columns of one length."""

    t_ns: Ints
    server: Ints
    outcome: Ints


class KernelResult(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Counts per window [w · window_ns, (w + 1) · window_ns); the last one may be cut short by ``until_ns``.

    ``out_ns[w, cell]``: the sum over the cell's servers of the time each was out of service.
    ``renewals[w, cell, outcome]``: attempts that *began* in w and have ended, by `Outcome` DONE … UNREACHABLE.
    ``left[w, cell]``: how often a server left service. ``no_quorum[w, account]`` and ``no_replica``: the mean share
    of the account's requests whose partition had fewer than two replicas, and none, in service.
    """

    until_ns: int
    window_ns: int
    servers: Ints  # by cell
    out_ns: Ints
    renewals: Ints
    left: Ints
    no_quorum: Floats
    no_replica: Floats
    eventual_ratio: float
    weight: Floats  # by account, as in the input
    available: npt.NDArray[np.bool_]  # by server, at the end
    cpu_s: Floats  # by cell, spent until the end
    events: int
    trace: Trace | None

    @property
    def span_ns(self) -> Ints:
        """How long each window was."""
        starts = np.arange(len(self.out_ns), dtype=np.int64) * self.window_ns
        return np.minimum(self.window_ns, self.until_ns - starts)

    @property
    def out_share(self) -> Floats:
        """[w]: mean share of all servers out of service."""
        shares: Floats = self.out_ns.sum(axis=1) / (self.span_ns * self.servers.sum())
        return shares

    @property
    def failed_by_account(self) -> Floats:
        """[w, account]: the share of its requests that fail: expected over the load's mix, not a sample of it."""
        return self.no_quorum * (1 - self.eventual_ratio) + self.no_replica * self.eventual_ratio

    @property
    def failed_share(self) -> Floats:
        """[w]: the same of all requests together."""
        shares: Floats = self.failed_by_account @ (self.weight / self.weight.sum())
        return shares

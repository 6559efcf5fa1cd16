"""Customers' arrivals: which request comes when, for whom, on which key. Open-loop: no answer changes it.

Decides the whole stream of requests from (catalogue, settings, chance) and, with `Pace`, the instant each
is due at a rate that may change. Never waits, sends or reads a clock. Every request takes the same number
of draws, so a change of rate moves the due instants and nothing else: two arms of one seed are asked for
the same keys in the same order. Also the form of the files the load generator is started and steered with.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import msgspec

from .errors import Refused
from .model import TableId, partition_of
from .spec import LoadSpec

if TYPE_CHECKING:
    import random

KeyHash = Callable[[str, str], int]  # keys.key_hash: (hash key type, hash key) -> 64-bit hash

# ---------------------------------------------------------------- files


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Read from JSON: frozen, and an unknown key is an error at the border."""


class CatalogueTable(_File, frozen=True, kw_only=True):
    """One table. ``weight`` is its share of its customer's load, in any unit."""

    name: str
    id: TableId
    partitions: int
    weight: float


class CatalogueCustomer(_File, frozen=True, kw_only=True):
    """One customer. ``weight`` is its share of the offered load, in any unit. The backend makes a placement
    group's customers add up to the group's servers, so that every server carries about the same rate."""

    customer: str
    weight: float
    tables: tuple[CatalogueTable, ...]


class Catalogue(_File, frozen=True, kw_only=True):
    """What can be asked for: written by the backend, which alone knows the placement."""

    customers: tuple[CatalogueCustomer, ...]

    def check(self) -> None:
        """Refuse a catalogue no request can be drawn from, or in which two tables share a name."""
        _need(len(self.customers) > 0, "catalogue.customers", len(self.customers), "at least one customer")
        _unique([c.customer for c in self.customers], "catalogue.customers.customer")
        _unique([t.id for c in self.customers for t in c.tables], "catalogue.customers.tables.id")
        _weights([c.weight for c in self.customers], "catalogue.customers.weight")
        for c in self.customers:
            field = f"catalogue.customers[{c.customer}].tables"
            _need(len(c.tables) > 0, field, len(c.tables), "at least one table")
            _unique([t.name for t in c.tables], f"{field}.name")
            _weights([t.weight for t in c.tables], f"{field}.weight")
            for t in c.tables:
                _need(t.partitions >= 1, f"{field}[{t.name}].partitions", t.partitions, ">= 1")


class LoadConfig(_File, frozen=True, kw_only=True):
    """Settings of the load generator. ``endpoint`` is the front end, ``records`` the NDJSON file it appends to,
    ``control_path`` the `Control` it follows. ``load.rps`` is not used here: the rate in force is the control's.
    ``metrics_listen``: "host:port" of the metrics page; none if empty."""

    endpoint: str
    seed: int
    load: LoadSpec = LoadSpec()
    catalogue_path: str
    control_path: str
    records: str
    metrics_listen: str = ""

    def check(self) -> None:
        load = self.load
        _need(self.endpoint.startswith("http://"), "endpoint", self.endpoint, "like http://127.0.0.1:8000")
        _need(load.timeout_s > 0, "load.timeout_s", load.timeout_s, "> 0")
        _need(load.in_flight_cap >= 1, "load.in_flight_cap", load.in_flight_cap, ">= 1")
        _need(load.keys_per_table >= 1, "load.keys_per_table", load.keys_per_table, ">= 1")
        for field in ("write_ratio", "eventual_read_ratio"):
            _need(0 <= getattr(load, field) <= 1, f"load.{field}", getattr(load, field), "in [0, 1]")
        both = load.write_ratio + load.eventual_read_ratio
        _need(both <= 1 + 1e-9, "load.write_ratio", load.write_ratio, "<= 1 - eventual_read_ratio")


class Control(_File, frozen=True, kw_only=True):
    """What the world server wants now. ``rps`` 0 is idle; ``stop`` ends the process, after reading every
    acknowledged key again unless ``audit`` is false. The file is replaced atomically; none yet means idle."""

    rps: float = 0.0
    stop: bool = False
    audit: bool = True

    def check(self) -> None:
        _need(0 <= self.rps < math.inf, "control.rps", self.rps, ">= 0")


def _need(ok: bool, field: str, value: object, right: str) -> None:
    if not ok:
        raise Refused(f"{field}: {value!r} is not allowed; it must be {right}")


def _unique(names: list[str], field: str) -> None:
    seen: set[str] = set()
    for name in names:
        _need(name not in seen, field, name, "unique")
        seen.add(name)


def _weights(weights: list[float], field: str) -> None:
    for weight in weights:
        _need(0 <= weight < math.inf, field, weight, ">= 0")
    _need(sum(weights) > 0, field, sum(weights), "> 0 in sum")


# ---------------------------------------------------------------- what is asked for


class Planned(msgspec.Struct, frozen=True):
    """One request to come. ``gap`` is the distance from the one before, in mean gaps (exponential, mean 1).

    ``seq`` is the value a put writes: 1, 2, 3, … over all puts of a generator; 0 for reads.
    """

    gap: float
    op: Literal["put", "get", "get-eventual"]
    customer: str
    table: str
    table_id: TableId
    partition: int
    key: str
    seq: int


def key_text(number: int) -> str:
    return f"k-{number:04d}"


def rng_seed(seed: int) -> str:
    """Seed for the arrivals' own generator, so that no other draw of the same seed can shift them."""
    return f"{seed}/arrivals"


def stream(catalogue: Catalogue, load: LoadSpec, key_hash: KeyHash, rng: random.Random) -> Iterator[Planned]:
    """The endless stream of requests. Tables by weight, keys uniform, operations by ratio, all independent."""
    tables = [(c, t) for c in catalogue.customers for t in c.tables]
    of_customer = {c.customer: c.weight / sum(t.weight for t in c.tables) for c in catalogue.customers}
    bounds = list(accumulate(t.weight * of_customer[c.customer] for c, t in tables))
    keys = [key_text(number) for number in range(load.keys_per_table)]
    hashes = [key_hash("S", key) for key in keys]
    eventual_below = load.write_ratio + load.eventual_read_ratio
    seq = 0
    while True:
        # Four draws a request, used or not: the promise in the module's docstring rests on it.
        gap = -math.log(1.0 - rng.random())
        drawn = bisect_right(bounds, rng.random() * bounds[-1])
        customer, table = tables[min(drawn, len(tables) - 1)]  # rounding may reach the last bound itself
        number = int(rng.random() * len(keys))
        draw = rng.random()
        op: Literal["put", "get", "get-eventual"]
        op = "put" if draw < load.write_ratio else "get-eventual" if draw < eventual_below else "get"
        seq += op == "put"
        yield Planned(
            gap,
            op,
            customer.customer,
            table.name,
            table.id,
            partition_of(hashes[number], table.partitions),
            keys[number],
            seq if op == "put" else 0,
        )


# ---------------------------------------------------------------- when


class Pace(msgspec.Struct, frozen=True):
    """When the next request is due: ``left`` mean gaps after ``from_s``, at ``rps`` since then.

    Measuring the distance in mean gaps makes the arrivals Poisson at every rate and through changes of it:
    what has passed at the old rate is taken off, the rest passes at the new one.
    """

    from_s: float
    rps: float
    left: float

    @property
    def due_s(self) -> float:
        if self.left <= 0:
            return self.from_s
        return self.from_s + self.left / self.rps if self.rps > 0 else math.inf

    def arrived(self, gap: float) -> Pace:
        """The due request is on its way; the next one is ``gap`` mean gaps after it, however late that was sent."""
        return Pace(self.due_s, self.rps, gap)

    def turned(self, now_s: float, rps: float) -> Pace:
        """The rate changes now. A request already due stays due when it was."""
        if now_s >= self.due_s:
            return Pace(self.due_s, rps, 0.0)
        at_s = max(self.from_s, now_s)
        return Pace(at_s, rps, max(0.0, self.left - (at_s - self.from_s) * self.rps))

"""What a cut does to one cell of the metadata service: the mean field of its servers under processor sharing.

Decides from a cell's sizes, its CPU limit and the renewal policy whether a cut heals or keeps itself alive; in
milliseconds, for any number of servers. Never draws a number: servers are shares of classes of like memberships, and
what chance spreads (phases, jitter, retry waits) is spread evenly.

The wave: servers that were cut ask at once. Everybody in flight gets the same CPU, so one attempt gets

    dv = q·dt / (number in flight)     CPU seconds

and is answered once it has got what its membership costs. Who has not by the time limit T has wasted what it got,
leaves service and asks again after the retry wait: work that is lost is what keeps the storm alive. Ordinary renewals
go on beside it; those that come to late join in. Whether more join than are answered decides.

Assumed: processor sharing, work dropped when its caller has gone, one cost per record and one per request, as many
servers that a share of one means something (below some twenty large ones in a cell chance rules: `forecast`). Not
modelled: pages (taken as small), FIFO and LIFO, network and limiter grain.

Invariant: servers are neither made nor lost: of each class, in service + out = all.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import msgspec

from .spec import RenewalPolicy

STEPS_PER_LIMIT = 40  # four times as many move a border by 1-2 %, half as many by 4 % (test_meanfield.py)
SETTLE_PERIODS = 3.0  # how long after the cut it is looked: its second wave comes after one period (DESIGN.md)
SURE_SHARE = 0.9  # of the large servers out half-way: more joined than were answered, so there is no way back
STUCK_SHARE = 0.1  # of the large servers out then: less is the tail of one that heals
HEALED_SHARE = 0.005  # of the servers out, as "recovered" (verbs.Wait)
LARGE_SHARE = 0.4  # of the largest membership: what counts as large. Set R2 has 0.31 … 0.54 of it empty
FINE = 0.1  # classes of large memberships are 10 % wide
IDLE = 1e-9  # servers; below, there is nobody


class Sizes(msgspec.Struct, frozen=True):
    """Servers of like memberships: how many, the CPU seconds of one renewal, and how many of them are cut."""

    servers: float
    work_s: float
    cut: float = 0.0


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell as the model sees it. ``cores``: its CPU limit; ``request_s``: CPU seconds of accepting a request."""

    sizes: tuple[Sizes, ...]
    cores: float
    request_s: float
    policy: RenewalPolicy


class Course(msgspec.Struct, frozen=True):
    """What a cut does: shares of the cell's servers out at the end and at worst, and the seconds from the cut's end
    until nobody is out (None: not within the time looked at). ``stuck``: it keeps itself alive."""

    stuck: bool
    out_ratio: float
    worst_ratio: float
    healed_s: float | None


def course(cell: Cell, cut_s: float) -> Course:
    """The cell from healthy, through a cut of ``cut_s`` seconds, to SETTLE_PERIODS after it."""
    field, servers = _after(cell, cut_s, math.inf), sum(size.servers for size in cell.sizes)
    stuck = field.out > STUCK_SHARE * large_of(cell)[0]
    return Course(stuck, field.out / servers, field.worst / servers, None if stuck else field.healed_s)


def sticks(cell: Cell, cut_s: float) -> bool:
    """Whether the cut keeps itself alive: `course`'s answer, given as soon as it is sure."""
    return _after(cell, cut_s, SURE_SHARE).out > STUCK_SHARE * large_of(cell)[0]


def _after(cell: Cell, cut_s: float, sure: float) -> _Field:
    """SETTLE_PERIODS after the cut, or half of that once nobody is out, or more than ``sure`` of the large ones."""
    field, policy = _Field(cell), cell.policy
    field.run(2 * policy.time_limit_s)
    field.cut()
    field.run(cut_s)
    field.heal()
    field.run(SETTLE_PERIODS / 2 * policy.renew_every_s)  # its second wave has come by then
    servers, large = sum(size.servers for size in cell.sizes), large_of(cell)[0]
    if HEALED_SHARE * servers < field.out < sure * large:
        field.run(SETTLE_PERIODS / 2 * policy.renew_every_s)
    return field


def large_of(cell: Cell) -> tuple[float, float]:
    """Servers with large memberships, and the CPU seconds of one renewal of each of them."""
    least_s = LARGE_SHARE * max(size.work_s for size in cell.sizes)
    large = [size for size in cell.sizes if size.work_s >= least_s]
    return sum(size.servers for size in large), sum(size.servers * size.work_s for size in large)


class _Spread:
    """Servers that will ask, evenly spread over intervals of steps: a ring of differences, so that one call costs as
    little for a wide interval as for a narrow one."""

    def __init__(self, steps: int) -> None:
        self._change = [0.0] * steps
        self._rate = 0.0

    def add(self, now: int, first: int, last: int, servers: float) -> None:
        """``servers`` over the steps now + first … now + last; first must be at least 1."""
        each, ring = servers / (last - first + 1), len(self._change)
        self._change[(now + first) % ring] += each
        self._change[(now + last + 1) % ring] -= each

    def take(self, now: int) -> float:
        """Those of this step."""
        place = now % len(self._change)
        self._rate += self._change[place]
        self._change[place] = 0.0
        return self._rate if self._rate > IDLE else 0.0

    def scale(self, factor: float) -> None:
        self._change = [change * factor for change in self._change]
        self._rate *= factor


class _Request:
    """Servers of one class that asked in the same step. ``again``: they were out when they did."""

    __slots__ = ("again", "servers", "size")

    def __init__(self, size: int, again: bool, servers: float) -> None:
        self.size, self.again, self.servers = size, again, servers


class _Field:
    """The cell in motion, a step of T / STEPS_PER_LIMIT at a time."""

    def __init__(self, cell: Cell) -> None:
        policy = cell.policy
        self.out = self.worst = self.healed_s = 0.0
        self._cell = cell
        self._step_s = policy.time_limit_s / STEPS_PER_LIMIT
        self._period = self._steps(policy.renew_every_s, policy.jitter_ratio)
        low_s, high_s = policy.retry.wait_min_s, policy.retry.wait_max_s
        self._wait = self._between(low_s, high_s)
        # What is left of a wait at an instant that has nothing to do with it: E[w²] / 2 E[w], evenly about that.
        left_s = (low_s**2 + low_s * high_s + high_s**2) / 3 / (low_s + high_s)
        self._left = self._between(0.0, 2 * left_s)
        ring = max(self._period[1], self._wait[1], self._left[1]) + 2
        self._renew = [_Spread(ring) for _ in cell.sizes]
        self._retry = [_Spread(ring) for _ in cell.sizes]
        self._serving = [size.servers for size in cell.sizes]  # in service, with or without a request in flight
        self._now = self._since = self._order = 0
        self._got_s = 0.0  # CPU seconds that a request in flight since ever would have got
        self._owed_s = 0.0  # CPU seconds of accepting requests, beyond what the last steps had
        self._in_flight = 0.0
        self._turns: list[tuple[float, int, _Request]] = []  # by what `_got_s` will be when it is answered
        self._asked: list[list[_Request]] = [[] for _ in range(STEPS_PER_LIMIT)]  # by step, for the time limit
        middle = self._steps(policy.renew_every_s, 0.0)[0]
        for size, renew in zip(cell.sizes, self._renew, strict=True):
            renew.add(0, 1, middle, size.servers)

    def run(self, for_s: float) -> None:
        for _ in range(round(for_s / self._step_s)):
            self._step()

    def cut(self) -> None:
        """Those cut leave service, and whatever they had in flight is dropped."""
        stay = [1 - size.cut / size.servers for size in self._cell.sizes]
        for number, kept in enumerate(stay):
            self._renew[number].scale(kept)
            self._retry[number].scale(kept)
            self._serving[number] *= kept
        for request in (request for asked in self._asked for request in asked):
            self._in_flight -= request.servers * (1 - stay[request.size])
            request.servers *= stay[request.size]
        self._count()

    def heal(self) -> None:
        """The cut ends: those cut ask at their next try, all within one retry wait."""
        for number, size in enumerate(self._cell.sizes):
            self._retry[number].add(self._now, *self._left, size.cut)
        self._since = self._now

    def _step(self) -> None:
        self._now += 1
        for request in self._asked[self._now % STEPS_PER_LIMIT]:
            if request.servers:
                self._give_up(request)
        self._asked[self._now % STEPS_PER_LIMIT] = asked = []
        spend_s = self._cell.cores * self._step_s - self._owed_s
        for number, size in enumerate(self._cell.sizes):
            for again, spread in ((False, self._renew[number]), (True, self._retry[number])):
                servers = spread.take(self._now)
                if servers:
                    request = _Request(number, again, servers)
                    asked.append(request)
                    self._order += 1
                    heapq.heappush(self._turns, (self._got_s + size.work_s, self._order, request))
                    self._in_flight += servers
                    spend_s -= servers * self._cell.request_s
        self._owed_s = max(0.0, -spend_s)
        self._serve(max(0.0, spend_s))
        self._count()

    def _serve(self, spend_s: float) -> None:
        """Everybody in flight gets the same; who has got what it needs is answered and takes no more."""
        while self._turns:
            answered_at_s, _, request = self._turns[0]
            if request.servers:
                needed_s = (answered_at_s - self._got_s) * self._in_flight
                if needed_s > spend_s:
                    self._got_s += spend_s / self._in_flight
                    return
                spend_s -= needed_s
                self._got_s = answered_at_s
                self._answer(request)
            heapq.heappop(self._turns)
        self._in_flight = 0.0  # of rounding

    def _answer(self, request: _Request) -> None:
        if request.again:
            self._serving[request.size] += request.servers
        self._renew[request.size].add(self._now, *self._period, request.servers)
        self._in_flight -= request.servers
        request.servers = 0.0

    def _give_up(self, request: _Request) -> None:
        if not request.again:
            self._serving[request.size] -= request.servers
        self._retry[request.size].add(self._now, *self._wait, request.servers)
        self._in_flight -= request.servers
        request.servers = 0.0

    def _count(self) -> None:
        servers = sum(size.servers for size in self._cell.sizes)
        self.out = servers - sum(self._serving)
        self.worst = max(self.worst, self.out)
        if self.out > HEALED_SHARE * servers:
            self.healed_s = (self._now - self._since) * self._step_s

    def _steps(self, mean_s: float, ratio: float) -> tuple[int, int]:
        return self._between(mean_s * (1 - ratio), mean_s * (1 + ratio))

    def _between(self, low_s: float, high_s: float) -> tuple[int, int]:
        first = max(1, round(low_s / self._step_s))
        return first, max(first, round(high_s / self._step_s))


def classes(works_s: Sequence[float], cut: Sequence[bool]) -> tuple[Sizes, ...]:
    """Servers one by one, by the CPU seconds of their renewals, to classes of like ones: the largest finely, because
    among them it is decided, the others by powers of two."""
    largest = max(works_s)
    found: dict[int, list[int]] = {}
    for server, work_s in enumerate(works_s):
        fall = math.log(largest / work_s)
        large = work_s >= LARGE_SHARE * largest
        key = math.floor(fall / FINE) if large else 100 + math.floor(fall / math.log(2))
        found.setdefault(key, []).append(server)
    return tuple(
        Sizes(len(servers), sum(works_s[s] for s in servers) / len(servers), sum(cut[s] for s in servers))
        for _, servers in sorted(found.items())
    )

"""The engine's time and nodes against dumb twins: processor sharing page by page and as a fluid, weights, hang-ups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.capacity import Costs
from cellwall.spec import MetadataPolicy
from cellwall_lab.backends.engine import DELAY_S, Loop, Node
from cellwall_lab.backends.timeline import to_ns

# One second of CPU per record and one core: whole numbers, so that floats are exact.
UNIT = Costs(c_record_s=1.0, c_request_s=0.0)
FOREVER_S = 1e6


class Bench:
    """A node, and when each request's answer left it."""

    def __init__(self, costs: Costs = UNIT, cores: float = 1.0, **policy: object) -> None:
        self.loop = Loop()
        self.node = Node(self.loop, "n", "cell-0", MetadataPolicy(partitions=4, **policy), costs, cores)
        self.finished: dict[int, float] = {}

    def send(self, request: int, records: int, at_s: float = 0.0, partition: int = 0, *, admin: bool = False) -> None:
        def done() -> None:
            assert request not in self.finished, "answered twice"
            self.finished[request] = self.loop.now_s - DELAY_S

        self.loop.at(at_s, lambda: self.node.arrive(request, partition, records, done, admin=admin))

    def run(self, until_s: float = FOREVER_S) -> dict[int, float]:
        self.loop.run_until(until_s)
        return self.finished


def near(value: float) -> object:
    return pytest.approx(value, abs=1e-6)


# ---------------------------------------------------------------- time


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-50, 50)), max_size=30))
def test_time_never_goes_back_and_ties_go_in_order_of_scheduling(events):
    loop, seen, order = Loop(), [], []

    def act(number: int, later_s: float) -> None:
        seen.append(loop.now_s)
        order.append(number)
        # Asking for the past gets now, never before.
        loop.at(loop.now_s + later_s, lambda: seen.append(loop.now_s))

    for number, (at_s, later_s) in enumerate(events):
        loop.at(at_s, act, number, later_s)
    loop.run_until(1000.0)
    assert seen == sorted(seen)
    assert len(seen) == 2 * len(events)
    assert order == sorted(range(len(events)), key=lambda number: (to_ns(events[number][0]), number))
    assert loop.now_s == 1000.0


def test_time_passes_without_events_and_later_ones_wait():
    loop, seen = Loop(), []
    loop.at(5.0, seen.append, "at its time")
    loop.run_until(4.999)
    assert (loop.now_s, seen) == (4.999, [])
    loop.run_until(5.0)
    assert seen == ["at its time"]
    loop.run_until(3.0)
    assert loop.now_s == 5.0, "running until an earlier time must not turn the clock back"


# ---------------------------------------------------------------- processor sharing


@pytest.mark.parametrize("requests", [1, 2, 7, 40])
@pytest.mark.parametrize("cores", [0.25, 1.0, 2.0])
def test_k_equal_requests_finish_at_k_times_the_time_of_one(requests, cores):
    bench = Bench(cores=cores, page_records=10)
    for request in range(requests):
        bench.send(request, 200)
    finished = bench.run()
    solo_s, page_s = 200 / cores, 10 / cores
    for request in range(requests):
        # The last round hands out one page each, in order of arrival.
        assert finished[request] == near(requests * solo_s - (requests - 1 - request) * page_s)
    assert bench.node.cpu_s == requests * 200
    assert bench.node.answered == requests


def fluid(works: list[float]) -> list[float]:
    """Exact processor sharing of requests that all arrive at 0: each gets 1/k of a core while k are there."""
    finish, now_s, served = [0.0] * len(works), 0.0, 0.0
    for left, (work, request) in enumerate(sorted((work, r) for r, work in enumerate(works))):
        now_s += (work - served) * (len(works) - left)
        served = work
        finish[request] = now_s
    return finish


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(1, 60))
def test_unequal_requests_finish_within_one_round_of_the_fluid(records, page):
    bench = Bench(page_records=page)
    for request, count in enumerate(records):
        bench.send(request, count)
    finished = bench.run()
    for request, fluid_s in enumerate(fluid([float(count) for count in records])):
        assert abs(finished[request] - fluid_s) <= len(records) * page + 1e-6
    assert max(finished.values()) == near(sum(records)), "work is neither lost nor invented"


def test_with_pages_of_one_record_the_node_is_the_fluid():
    records = [3, 300, 50, 50, 120]
    bench = Bench(costs=Costs(0.001, 0.0), page_records=1)
    for request, count in enumerate(records):
        bench.send(request, count)
    finished = bench.run()
    for request, fluid_s in enumerate(fluid([count * 0.001 for count in records])):
        assert finished[request] == pytest.approx(fluid_s, abs=len(records) * 0.001)


class Twin:
    """A node as a list of turns. Requests: (arrives, records, hangs up or None), in order of arrival."""

    def __init__(self, page: int, c_request: int, drop: bool, concurrency: int | None, newest: bool) -> None:
        self.page, self.c_request, self.drop = page, c_request, drop
        self.concurrency, self.newest = concurrency, newest

    def run(self, requests: list[tuple[float, int, float | None]]) -> dict[int, float]:
        left = {i: records for i, (_, records, _) in enumerate(requests)}
        events = sorted(
            [(at_s, i, "arrive") for i, (at_s, _, _) in enumerate(requests)]
            + [(off_s, i, "gone") for i, (_, _, off_s) in enumerate(requests) if off_s is not None]
        )
        waiting: list[int] = []
        turns: list[int] = []
        working: set[int] = set()
        finished: dict[int, float] = {}
        now_s, owed = 0.0, 0

        def fill() -> None:
            while waiting and (self.concurrency is None or len(working) < self.concurrency):
                request = waiting.pop(-1 if self.newest else 0)
                working.add(request)
                turns.append(request)

        def happen(until_s: float) -> None:
            nonlocal owed
            while events and events[0][0] <= until_s:
                _, i, what = events.pop(0)
                if what == "arrive":
                    waiting.append(i)
                    owed += self.c_request
                elif i in left and self.drop:
                    del left[i]
                    for place in (waiting, turns):
                        if i in place:
                            place.remove(i)
                    working.discard(i)
                fill()

        while events or turns:
            if not turns:
                now_s = max(now_s, events[0][0])
                happen(now_s)
                continue
            request = turns.pop(0)
            page = min(self.page, left[request])
            now_s += owed + page
            owed = 0
            happen(now_s)
            if request not in left:
                continue
            left[request] -= page
            if left[request] == 0:
                del left[request]
                working.discard(request)
                finished[request] = now_s
                fill()
            else:
                turns.append(request)
        return finished


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[float, int, float | None]]:
    """No two events at one instant: every arrival and hang-up has a binary fraction of its own, work is whole."""
    count = draw(st.integers(1, 12))
    out = []
    for i in range(count):
        at_s = draw(st.integers(0, 60)) + (2 * i + 1) / 64
        stays = draw(st.none() | st.integers(0, 80))
        # A whole number of seconds after the first half of its own 1/32: never where a page of another ends.
        off_s = None if stays is None else at_s + stays + 1 / 64
        out.append((at_s, draw(st.integers(1, 30)), off_s))
    return sorted(out)


@given(
    traffic(),
    st.integers(1, 10),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["processor-sharing", "fifo", "lifo"]),
    st.integers(1, 4),
)
def test_the_node_is_the_list_of_turns(requests, page, c_request, drop, discipline, concurrency):
    bench = Bench(
        costs=Costs(1.0, float(c_request)),
        page_records=page,
        drop_abandoned=drop,
        discipline=discipline,
        concurrency=concurrency,
    )
    for request, (at_s, records, off_s) in enumerate(requests):
        bench.send(request, records, at_s)
        if off_s is not None:
            bench.loop.at(off_s, bench.node.gone, request)
    limit = None if discipline == "processor-sharing" else concurrency
    expected = Twin(page, c_request, drop, limit, discipline == "lifo").run(requests)
    assert bench.run() == {request: near(at_s) for request, at_s in expected.items()}
    assert bench.node.answered == len(expected)
    if not drop:
        assert len(expected) == len(requests)
        assert bench.node.cpu_s == sum(records for _, records, _ in requests) + c_request * len(requests)


def test_the_page_is_the_quantum():
    """A small request waits one page of each other one, however long those are: 10 others, then its own."""
    for page in (1, 20, 100):
        bench = Bench(page_records=page)
        for request in range(10):
            bench.send(request, 10_000)
        bench.send(99, 1, at_s=0.5)
        # It arrives during the first page of the first, and the first then goes behind it.
        assert bench.run(10 * page + 50)[99] == near(10 * page + 1)


def test_the_cost_of_a_request_itself_is_paid_before_anybodys_page():
    bench = Bench(costs=Costs(1.0, 5.0), page_records=10)
    bench.send(1, 20)
    bench.send(2, 10, at_s=1.0)  # accepted while the first page runs: paid with the next one, whose ever it is
    assert bench.run() == {1: near(40), 2: near(30)}
    assert bench.node.cpu_s == 40


def test_fifo_serves_one_after_the_other_and_lifo_the_newest_first():
    for discipline, order in (("fifo", [0, 1, 2, 3]), ("lifo", [0, 3, 2, 1])):
        bench = Bench(discipline=discipline, concurrency=1, page_records=10)
        for request in range(4):
            bench.send(request, 100, at_s=request / 8)
        finished = bench.run()
        assert sorted(finished, key=finished.__getitem__) == order
        assert sorted(finished.values()) == [near(100 * (i + 1)) for i in range(4)]


def test_more_cpu_from_now_on_shortens_what_is_left():
    bench = Bench(page_records=10)
    bench.send(1, 100)
    bench.loop.run_until(49.5)
    bench.node.cores = 5.0
    assert bench.run()[1] == near(50 + 50 / 5)


# ---------------------------------------------------------------- weights


def test_a_weight_is_a_share_of_slots_and_zero_is_none():
    bench = Bench(page_records=1, slots_per_partition=4)
    bench.node.admission.set_weight(1, 50)
    bench.node.admission.set_weight(2, 0)
    for request in range(4):
        bench.send(request, 10, partition=0)
        bench.send(10 + request, 10, partition=1)
        bench.send(20 + request, 10, partition=2)
    bench.loop.run_until(0.5)
    assert (bench.node.admission.in_service, bench.node.admission.waiting) == (4 + 2, 2 + 4)
    finished = bench.run()
    assert set(finished) == {*range(4), *range(10, 14)}, "weight 0 serves nobody"
    assert max(finished[r] for r in range(4)) == near(60), "six share until then"
    assert [finished[r] for r in (12, 13)] == [near(79), near(80)]
    assert bench.node.oldest_s() == FOREVER_S, "the queue's age is that of those never served"
    bench.node.set_weight(2, 100)
    finished = bench.run(FOREVER_S + 100)
    assert max(finished[r] for r in range(20, 24)) == near(FOREVER_S + 40), "an idle node begins at once"


def test_administration_in_a_lane_of_its_own_overtakes():
    for lane, expected_s in (("own", 101), ("shared", 1001)):
        bench = Bench(page_records=10, admin_lane=lane)
        for request in range(9):
            bench.send(request, 200)
        bench.send(99, 100, at_s=0.5, admin=True)
        finished = bench.run()[99]
        assert finished <= expected_s + 10
        assert finished >= expected_s - 20


# ---------------------------------------------------------------- callers that have gone


def test_abandoned_work_is_dropped_or_kept():
    spent = {}
    for drop in (True, False):
        bench = Bench(page_records=10, drop_abandoned=drop)
        bench.send(1, 100)
        bench.send(2, 100)
        bench.loop.at(35.0, bench.node.gone, 1)
        finished = bench.run()
        spent[drop] = bench.node.cpu_s
        assert bench.node.abandoned == 1
        assert finished == ({2: near(120)} if drop else {1: near(190), 2: near(200)})
    # It hung up during the other one's second page: two of its own ten had been worked.
    assert spent == {True: 120, False: 200}


def test_a_request_dropped_during_its_own_page_frees_the_node_after_that_page():
    bench = Bench(page_records=10)
    bench.send(1, 100)
    bench.loop.at(5.0, bench.node.gone, 1)
    bench.send(2, 10, at_s=6.0)
    assert bench.run() == {2: near(20)}
    bench.node.gone(1)
    bench.node.gone(2)
    assert bench.node.abandoned == 1, "gone after the end is nothing"
    assert (bench.node.admission.in_service, bench.node.admission.waiting) == (0, 0)

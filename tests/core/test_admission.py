"""Admission against a naive twin: lists, recomputed from the rules after every event."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.admission import Admission
from cellwall.spec import MetadataPolicy

PARTITIONS = 3


class Entry:
    """A request as the twin sees it."""

    def __init__(self, name: int, partition: int, own_lane: bool) -> None:
        self.name, self.partition, self.own_lane = name, partition, own_lane
        self.started = own_lane


class Twin:
    """Everything is one list in order of arrival plus two rounds; nothing is kept that can be counted."""

    def __init__(self, policy: MetadataPolicy, weights: Sequence[float]) -> None:
        self.policy, self.weights = policy, list(weights)
        self.here: list[Entry] = []
        self.round: list[int] = []
        self.admin_round: list[int] = []

    def arrive(self, name: int, partition: int, *, admin: bool) -> None:
        entry = Entry(name, partition, admin and self.policy.admin_lane == "own")
        self.here.append(entry)
        if entry.own_lane:
            self.admin_round.append(name)
        self.fill()

    def finish(self, name: int) -> None:
        self.here = [entry for entry in self.here if entry.name != name]
        self.round = [other for other in self.round if other != name]
        self.admin_round = [other for other in self.admin_round if other != name]
        self.fill()

    def fill(self) -> None:
        while (entry := self.startable()) is not None:
            entry.started = True
            self.round.append(entry.name)

    def startable(self) -> Entry | None:
        started = [entry for entry in self.here if entry.started]
        in_slots = sum(not entry.own_lane for entry in started)
        if self.policy.discipline != "processor-sharing" and in_slots >= self.policy.concurrency:
            return None
        waiting = [entry for entry in self.here if not entry.started]
        for entry in reversed(waiting) if self.policy.discipline == "lifo" else waiting:
            busy = sum(other.partition == entry.partition and not other.own_lane for other in started)
            # w % of the slots, rounded up, in whole numbers: the weights drawn here are whole
            slots = -(-self.policy.slots_per_partition * int(self.weights[entry.partition]) // 100)
            if busy < slots:
                return entry
        return None

    def next(self) -> int | None:
        for turns in (self.admin_round, self.round):
            if turns:
                return turns.pop(0)
        return None

    def again(self, name: int) -> None:
        for entry in self.here:
            if entry.name == name:
                (self.admin_round if entry.own_lane else self.round).append(name)

    def waiting(self) -> int:
        return sum(not entry.started for entry in self.here)


class Move(msgspec.Struct, frozen=True):
    """``which`` picks among those concerned; ``name`` is used again when its last bearer has left."""

    kind: str
    which: int
    name: int
    percent: int
    admin: bool
    last_page: bool


policies = st.builds(
    MetadataPolicy,
    discipline=st.sampled_from(["processor-sharing", "fifo", "lifo"]),
    concurrency=st.integers(1, 3),
    drop_abandoned=st.booleans(),
    admin_lane=st.sampled_from(["shared", "own"]),
    partitions=st.just(PARTITIONS),
    slots_per_partition=st.integers(1, 4),
)
percents = st.sampled_from([0, 1, 25, 26, 50, 99, 100])
a_move = st.builds(
    Move,
    kind=st.sampled_from(
        ["arrive", "arrive", "arrive", "page", "page", "page", "page", "gone", "gone-meanwhile", "weight"]
    ),
    which=st.integers(0, 99),
    name=st.integers(0, 12),
    percent=percents,
    admin=st.integers(0, 5).map(lambda drawn: drawn == 0),
    last_page=st.integers(0, 3).map(lambda drawn: drawn == 0),
)
# A list strategy by itself draws about five; a queue needs more to form.
moves = st.integers(0, 60).flatmap(lambda length: st.lists(a_move, min_size=length, max_size=length))
weight_lists = st.lists(percents, min_size=PARTITIONS, max_size=PARTITIONS)


@settings(max_examples=300)
@given(policies, weight_lists, moves)
def test_every_page_goes_to_the_request_that_the_rules_name(
    policy: MetadataPolicy, weights: list[int], script: list[Move]
) -> None:
    admission, twin = Admission(policy, weights), Twin(policy, weights)
    here: set[int] = set()  # arrived, neither finished nor let go

    def leave(name: int) -> None:
        here.discard(name)
        twin.finish(name)

    def gone(name: int) -> None:
        let_go = admission.gone(name)
        assert let_go == policy.drop_abandoned
        if let_go:
            leave(name)

    for move in script:
        match move.kind:
            case "arrive" if move.name not in here:
                here.add(move.name)
                admission.arrive(move.name, move.which % PARTITIONS, admin=move.admin)
                twin.arrive(move.name, move.which % PARTITIONS, admin=move.admin)
            case "gone" if here:
                gone(sorted(here)[move.which % len(here)])
            case "weight":
                admission.set_weight(move.which % PARTITIONS, move.percent)
                twin.weights[move.which % PARTITIONS] = move.percent
                twin.fill()
            case "page" | "gone-meanwhile":
                name = admission.next()
                assert name == twin.next()
                if name is None:
                    continue
                if move.kind == "gone-meanwhile":  # the caller hangs up while its page is done
                    gone(name)
                if move.last_page:
                    admission.finish(name)
                    leave(name)
                else:
                    admission.again(name)
                    twin.again(name)
        # nobody is lost or counted twice
        assert admission.waiting == twin.waiting()
        assert admission.in_service + admission.waiting == len(here) == len(twin.here)


@given(policies, st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.integers(1, 4)), max_size=25))
def test_everybody_is_served_to_the_end_and_gets_just_the_pages_needed(
    policy: MetadataPolicy, requests: list[tuple[int, int]]
) -> None:
    admission = Admission(policy)
    left = {name: pages for name, (_, pages) in enumerate(requests)}
    for name, (partition, _) in enumerate(requests):
        admission.arrive(name, partition)
    for _ in range(sum(left.values())):
        name = admission.next()
        assert name is not None and left[name] > 0
        left[name] -= 1
        if left[name]:
            admission.again(name)
        else:
            admission.finish(name)
    assert not any(left.values())
    assert (admission.next(), admission.in_service, admission.waiting) == (None, 0, 0)


@given(policies, st.lists(st.integers(0, PARTITIONS - 1), max_size=30), st.integers(0, PARTITIONS - 1))
def test_weight_0_starves_its_partition_and_nobody_else(
    policy: MetadataPolicy, partitions: list[int], starved: int
) -> None:
    admission = Admission(policy)
    admission.set_weight(starved, 0)
    for name, partition in enumerate(partitions):
        admission.arrive(name, partition)
    served = []
    while (name := admission.next()) is not None:
        served.append(name)
        admission.finish(name)
    assert sorted(served) == [name for name, partition in enumerate(partitions) if partition != starved]
    assert admission.waiting == partitions.count(starved)
    admission.set_weight(starved, 1)  # rounded up: the least weight is one slot
    assert admission.in_service == min(1, partitions.count(starved))


@given(st.lists(st.integers(0, 15), max_size=200))
def test_weight_100_never_binds_in_a_reference_fleet(partitions: list[int]) -> None:
    """A slice is at most 800 / 16 servers of a cell, far below the slots of the default policy."""
    admission = Admission(MetadataPolicy())
    for name, partition in enumerate(partitions):
        admission.arrive(name, partition)
    assert (admission.in_service, admission.waiting) == (len(partitions), 0)


@pytest.mark.parametrize(
    ("discipline", "order"),
    [("processor-sharing", [1, 2, 3, 1, 2, 3]), ("fifo", [1, 1, 2, 2, 3, 3]), ("lifo", [1, 1, 3, 3, 2, 2])],
)
def test_what_the_disciplines_mean(discipline: str, order: list[int]) -> None:
    """Three requests of two pages each, one at a time in service for fifo and lifo."""
    admission = Admission(msgspec.convert({"discipline": discipline, "concurrency": 1}, MetadataPolicy))
    for name in (1, 2, 3):
        admission.arrive(name, 0)
    pages = []
    for _ in range(6):
        name = admission.next()
        assert name is not None
        pages.append(name)
        if pages.count(name) == 2:
            admission.finish(name)
        else:
            admission.again(name)
    assert pages == order


@pytest.mark.parametrize(("lane", "first"), [("shared", 1), ("own", 9)])
def test_administration_waits_its_turn_or_goes_first(lane: str, first: int) -> None:
    admission = Admission(msgspec.convert({"admin_lane": lane}, MetadataPolicy))
    admission.arrive(1, 0)
    admission.arrive(9, 0, admin=True)
    assert admission.next() == first


def test_a_lane_of_its_own_is_open_at_weight_0() -> None:
    admission = Admission(MetadataPolicy(admin_lane="own"), [0.0] * 16)
    admission.arrive(1, 0)
    admission.arrive(9, 0, admin=True)
    assert admission.next() == 9
    assert admission.waiting == 1


@pytest.mark.parametrize("discipline", ["fifo", "lifo"])
def test_a_lane_of_its_own_takes_no_slot_of_the_renewals(discipline: str) -> None:
    policy = {"discipline": discipline, "concurrency": 1, "admin_lane": "own"}
    admission = Admission(msgspec.convert(policy, MetadataPolicy))
    for name in (8, 9):
        admission.arrive(name, 0, admin=True)
    for name in (1, 2):
        admission.arrive(name, 0)
    assert (admission.in_service, admission.waiting) == (3, 1), "one of two renewals, beside both of the others"


def test_a_name_used_again_gets_one_turn_a_round() -> None:
    """A server that gave up and asked again while its old turn was still due once had two."""
    admission = Admission(MetadataPolicy())
    for name in (1, 2):
        admission.arrive(name, 0)
    assert admission.gone(1)
    admission.arrive(1, 0)
    pages = []
    for _ in range(4):
        name = admission.next()
        assert name is not None
        pages.append(name)
        admission.again(name)
    assert pages == [2, 1, 2, 1]

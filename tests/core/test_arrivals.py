"""The stream of requests and the pace they are due at: `cellwall.arrivals`."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall.arrivals import (
    Catalogue,
    CatalogueCustomer,
    CatalogueTable,
    Control,
    LoadConfig,
    Pace,
    Planned,
    key_text,
    rng_seed,
    stream,
)
from cellwall.errors import Refused
from cellwall.model import hash_slice
from cellwall.spec import LoadSpec


def table(name: str = "table-0", id: str = "t-00000", partitions: int = 7, weight: float = 1.0) -> CatalogueTable:
    return CatalogueTable(name=name, id=id, partitions=partitions, weight=weight)


def customer(name: str, *tables: CatalogueTable, weight: float = 1.0) -> CatalogueCustomer:
    return CatalogueCustomer(customer=name, weight=weight, tables=tables)


# Two customers of very different size; the small tables of the big one are asked for less than the small one's.
UNEVEN = Catalogue(
    customers=(
        customer("big", table("a", "t-1", weight=3), table("b", "t-2", weight=1), weight=8),
        customer("small", table("a", "t-3", partitions=1, weight=0.5), weight=2),
        customer("asleep", table("a", "t-4"), weight=0),
    )
)


def hashed(kind: str, key: str) -> int:
    """Any function of the key will do; the real one is `cellwall.keys.key_hash`."""
    assert kind == "S"
    return random.Random(key).getrandbits(64)


def take(count: int, seed: int = 1, load: LoadSpec | None = None, catalogue: Catalogue = UNEVEN) -> list[Planned]:
    rng = random.Random(rng_seed(seed))
    return list(itertools.islice(stream(catalogue, load or LoadSpec(), hashed, rng), count))


weights = st.floats(min_value=0.01, max_value=100)
catalogues = st.lists(
    st.tuples(weights, st.lists(st.tuples(st.integers(1, 500), weights), min_size=1, max_size=4)),
    min_size=1,
    max_size=5,
).map(
    lambda rows: Catalogue(
        customers=tuple(
            customer(f"c{i}", *(table(f"t{j}", f"t-{i}-{j}", p, w) for j, (p, w) in enumerate(ts)), weight=weight)
            for i, (weight, ts) in enumerate(rows)
        )
    )
)
specs = st.builds(
    lambda writes, eventual, keys: LoadSpec(
        write_ratio=writes, eventual_read_ratio=(1 - writes) * eventual, keys_per_table=keys
    ),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 20),
)


@given(catalogues, specs, st.integers(0, 2**31))
def test_same_seed_same_bytes_and_every_request_is_one_the_catalogue_has(
    catalogue: Catalogue, load: LoadSpec, seed: int
) -> None:
    planned = take(60, seed, load, catalogue)
    assert msgspec.json.encode(planned) == msgspec.json.encode(take(60, seed, load, catalogue))
    known = {(c.customer, t.name, t.id): t.partitions for c in catalogue.customers for t in c.tables}
    for one in planned:
        partitions = known[one.customer, one.table, one.table_id]
        assert one.key in {key_text(n) for n in range(load.keys_per_table)}
        low, high = hash_slice(one.partition, partitions)
        assert low <= f"{hashed('S', one.key):016x}" and (not high or f"{hashed('S', one.key):016x}" < high)
        assert one.gap >= 0
        assert (one.seq > 0) == (one.op == "put")
    puts = [one.seq for one in planned if one.op == "put"]
    assert puts == list(range(1, len(puts) + 1))


def test_another_seed_is_another_stream() -> None:
    assert take(50, seed=1) != take(50, seed=2)


def test_mix_and_shares_are_those_asked_for() -> None:
    planned = take(20_000)
    ops = Counter(one.op for one in planned)
    tables = Counter(one.table_id for one in planned)
    for count, share in (
        (ops["put"], 0.4),
        (ops["get-eventual"], 0.2),
        (ops["get"], 0.4),
        (tables["t-1"], 0.6),
        (tables["t-2"], 0.2),
        (tables["t-3"], 0.2),
    ):
        assert abs(count / 20_000 - share) < 5 * math.sqrt(share * (1 - share) / 20_000)
    assert tables["t-4"] == 0
    keys = Counter(one.key for one in planned)
    assert len(keys) == 8 and max(keys.values()) < 1.2 * min(keys.values())


def test_operation_and_key_are_independent_of_the_mix() -> None:
    """A draw is taken whether it is needed or not: another mix asks for the same tables and keys."""
    mixed, reads = take(100), take(100, load=LoadSpec(write_ratio=0.0, eventual_read_ratio=0.0))
    assert [(m.gap, m.table_id, m.key) for m in mixed] == [(r.gap, r.table_id, r.key) for r in reads]
    assert {r.op for r in reads} == {"get"}


def test_gaps_are_exponential() -> None:
    gaps = [one.gap for one in take(20_000)]
    mean = sum(gaps) / len(gaps)
    assert abs(mean - 1) < 5 / math.sqrt(len(gaps))
    # A regular stream would have no gap above 3 means; an exponential one has exp(-3) of them.
    assert abs(sum(g > 3 for g in gaps) / len(gaps) - math.exp(-3)) < 0.01


# ---------------------------------------------------------------- pace


def due_times(gaps: list[float], changes: list[tuple[float, float]], until_s: float) -> list[float]:
    """When the gaps fall due if the rate changes at the given instants; Pace driven as the generator drives it."""
    out: list[float] = []
    pending = iter(gaps)
    pace = Pace(0.0, 0.0, next(pending))
    for at_s, rps in [*changes, (until_s, 0.0)]:
        while pace.due_s <= at_s:
            out.append(pace.due_s)
            following = next(pending, None)
            if following is None:
                return out
            pace = pace.arrived(following)
        pace = pace.turned(at_s, rps)
    return out


def test_a_constant_rate_is_the_running_sum_of_the_gaps() -> None:
    gaps = [one.gap for one in take(500)]
    got = due_times(gaps, [(2.0, 100.0)], math.inf)
    assert got == pytest.approx([2.0 + total / 100.0 for total in itertools.accumulate(gaps)])


@given(
    st.lists(st.floats(0.001, 5), min_size=1, max_size=40),
    st.lists(st.tuples(st.floats(0.01, 3), st.sampled_from([0.0, 0.5, 3.0, 40.0])), min_size=1, max_size=8),
)
def test_changing_the_rate_spends_mean_gaps_and_keeps_the_order(
    gaps: list[float], steps: list[tuple[float, float]]
) -> None:
    """Dumb twin: an arrival is due when the integral of the rate reaches the running sum of the gaps."""
    starts = list(itertools.accumulate(after for after, _ in steps))
    changes = [(at_s, rps) for at_s, (_, rps) in zip(starts, steps, strict=True)]
    until_s = changes[-1][0] + 2
    got = due_times(gaps, changes, until_s)
    assert got == sorted(got)
    ends = [at_s for at_s, _ in changes[1:]] + [until_s]
    for due_s, total in zip(got, itertools.accumulate(gaps), strict=False):
        spent = sum(max(0.0, min(due_s, end_s) - at_s) * rps for (at_s, rps), end_s in zip(changes, ends, strict=True))
        assert spent == pytest.approx(total, rel=1e-6, abs=1e-6)
    whole = sum((end_s - at_s) * rps for (at_s, rps), end_s in zip(changes, ends, strict=True))
    want = sum(total <= whole for total in itertools.accumulate(gaps))
    assert abs(len(got) - want) <= 1  # rounding may put one on the very border


def test_at_rate_zero_nothing_is_due_and_nothing_is_used_up() -> None:
    idle = Pace(0.0, 10.0, 2.0).turned(0.1, 0.0)
    assert idle.due_s == math.inf
    assert idle.turned(1000.0, 10.0).due_s == pytest.approx(1000.1)


def test_a_request_due_before_a_late_change_stays_due_when_it_was() -> None:
    assert Pace(5.0, 10.0, 1.0).turned(99.0, 0.0).due_s == pytest.approx(5.1)


@settings(max_examples=30)
@given(st.floats(1, 500), st.floats(1, 500), st.integers(0, 1000))
def test_the_rate_never_changes_what_is_asked_for(one_rps: float, other_rps: float, seed: int) -> None:
    planned = take(30, seed)
    gaps = [p.gap for p in planned]
    one, other = (due_times(gaps, [(0.0, rps)], math.inf) for rps in (one_rps, other_rps))
    assert len(one) == len(other) == 30
    assert [t * one_rps for t in one] == pytest.approx([t * other_rps for t in other])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("catalogue", "text"),
    [
        (Catalogue(customers=()), "catalogue.customers: 0 is not allowed; it must be at least one customer"),
        (Catalogue(customers=(customer("a"),)), r"catalogue.customers\[a\].tables: 0 .* at least one table"),
        (Catalogue(customers=(customer("a", table()), customer("a", table()))), "customer: 'a' .* unique"),
        (Catalogue(customers=(customer("a", table()), customer("b", table()))), "tables.id: 't-00000' .* unique"),
        (Catalogue(customers=(customer("a", table("x", "1"), table("x", "2")),)), "name: 'x' .* unique"),
        (Catalogue(customers=(customer("a", table(weight=-1)),)), "weight: -1 .* >= 0"),
        (Catalogue(customers=(customer("a", table(), weight=0),)), "weight: 0 .* > 0 in sum"),
        (Catalogue(customers=(customer("a", table(weight=math.nan)),)), "weight: nan .* >= 0"),
        (Catalogue(customers=(customer("a", table(partitions=0)),)), "partitions: 0 .* >= 1"),
    ],
)
def test_a_catalogue_nothing_can_be_drawn_from_is_refused(catalogue: Catalogue, text: str) -> None:
    with pytest.raises(Refused, match=text):
        catalogue.check()


def config(endpoint: str = "http://127.0.0.1:1", load: LoadSpec | None = None) -> LoadConfig:
    return LoadConfig(
        endpoint=endpoint, seed=1, load=load or LoadSpec(), catalogue_path="c", control_path="s", records="r"
    )


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (config("127.0.0.1:80"), "endpoint: '127.0.0.1:80' .* like http://"),
        (config(load=LoadSpec(timeout_s=0)), "load.timeout_s: 0"),
        (config(load=LoadSpec(in_flight_cap=0)), "load.in_flight_cap: 0"),
        (config(load=LoadSpec(keys_per_table=0)), "load.keys_per_table: 0"),
        (config(load=LoadSpec(write_ratio=-0.1)), "load.write_ratio: -0.1"),
        (config(load=LoadSpec(write_ratio=0.9)), "load.write_ratio: 0.9 .* <= 1 - eventual_read_ratio"),
    ],
)
def test_settings_that_cannot_be_are_refused(bad: LoadConfig, text: str) -> None:
    config().check()
    with pytest.raises(Refused, match=text):
        bad.check()


def test_a_control_file_names_a_rate() -> None:
    assert msgspec.json.decode(b"{}", type=Control) == Control(rps=0.0, stop=False, audit=True)
    for rps in (-1.0, math.inf, math.nan):
        with pytest.raises(Refused, match=r"control\.rps"):
            Control(rps=rps).check()
    with pytest.raises(msgspec.ValidationError, match="unknown field `rp`"):
        msgspec.json.decode(b'{"rp": 5}', type=Control)

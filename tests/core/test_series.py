"""Derived series against dumb twins that sample, count and add."""

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellwall import series
from cellwall.errors import Refused
from cellwall.history import Availability, CpuLimit, Fault, NodeSample, Phase, Record, Request, Step, World

Story = Callable[..., list[Record]]
T0, STUCK_END, END = 1033.0, 1103.5, 1200.0


# ---------------------------------------------------------------- moments


def test_the_moments_of_a_story(story: Story) -> None:
    at = series.moments(series.read(story()))
    assert (at.start_s, at.clean_s, at.cut_on_s, at.t0_s, at.stuck_s) == (1000, 1010, 1030, 1033, 1073)
    assert (at.stuck_end_s, at.pause_s, at.capacity_s, at.resume_s, at.end_s) == (1103.5, 1103.5, 1125, 1135, 1200)
    assert at.targets == {f"s-{i:04d}" for i in range(10)}


def test_without_a_pause_the_stuck_window_ends_with_its_phase(story: Story) -> None:
    at = series.moments(series.read(story("healed")))
    assert (at.stuck_end_s, at.pause_s, at.resume_s, at.capacity_s) == (1103.5, None, None, None)


def test_the_pause_has_three_witnesses(story: Story) -> None:
    def lost(kind: type) -> list[Record]:
        return [
            r
            for r in story()
            if not (
                isinstance(r, kind)
                and "pause" in (getattr(r, "fault", "") + getattr(r, "step", "") + getattr(r, "name", ""))
            )
        ]

    for kind in (Fault, Step, Phase):
        assert series.moments(series.read(lost(kind))).pause_s == STUCK_END


def test_a_trigger_with_one_cut_still_on_has_no_end(story: Story) -> None:
    more = Fault(t=1031, id="cut-2", fault="cut", state="on", targets=["s-0039"])
    at = series.moments(series.read([*story(), more]))
    assert at.t0_s is None and "s-0039" in at.targets
    off = Fault(t=1036, id="cut-2", fault="cut", state="off")
    assert series.moments(series.read([*story(), more, off])).t0_s == 1036


def test_an_empty_history_has_no_moments() -> None:
    run = series.read([])
    at = series.moments(run)
    assert at.targets == at.contradicted == frozenset()
    assert {getattr(at, name) for name in at.__struct_fields__ if name not in ("targets", "contradicted")} == {None}
    assert series.cells(run) == [] and series.out_curve(run).total == 0


def test_order_of_records_does_not_matter(story: Story) -> None:
    records = story()
    run = series.read(records)
    shuffled = records[:]
    random.Random(1).shuffle(shuffled)
    again = series.read(shuffled)
    assert series.moments(again) == series.moments(run)
    assert [r.t for r in again.requests] == [r.t for r in run.requests]


def test_histories_of_two_arms_and_bad_specs_are_refused(story: Story) -> None:
    with pytest.raises(Refused, match="one arm"):
        series.read([*story(), *story(arm="other")])
    world = next(r for r in story() if isinstance(r, World))
    with pytest.raises(Refused, match="spec is not valid"):
        series.read([msgspec.structs.replace(world, spec={"cels": 4})])


def test_fault_and_phase_spans(story: Story) -> None:
    run = series.read([*story(), Fault(t=1190, id="w", fault="weight", state="on")])
    assert [(f.fault, on, off) for f, on, off in series.fault_spans(run)] == [
        ("cut", 1030, 1033),
        ("pause", 1103.5, 1135),
        ("weight", 1190, None),
    ]
    spans = series.phase_spans(run)
    assert spans[0] == ("start", 1000, 1010) and spans[-1] == ("end", 1200, None)


# ---------------------------------------------------------------- servers out

changes = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4), st.booleans()), max_size=30)


def curve_of(found: list[tuple[int, int, bool]], names: int = 5) -> tuple[series.OutCurve, list[Availability]]:
    records = [
        Availability(t=t, server=f"s{s}", cell="c", available=up) for t, s, up in sorted(found, key=lambda c: c[0])
    ]
    return series.OutCurve(series.read(records), [f"s{s}" for s in range(names)]), records


def out_twin(records: list[Availability], t: float, names: int = 5) -> int:
    last = dict.fromkeys((f"s{s}" for s in range(names)), False)
    for r in records:
        if r.t <= t:
            last[r.server] = r.available
    return sum(not up for up in last.values())


@example([(0, 0, True), (1, 0, False), (1, 0, True)], 0, 2)  # out for no time at all
@given(changes, st.integers(-2, 32), st.integers(1, 12))
def test_the_out_curve_agrees_with_its_dumb_twin(found: list[tuple[int, int, bool]], from_s: int, length: int) -> None:
    curve, records = curve_of(found)
    assert curve.at(from_s) == out_twin(records, from_s)
    # Changes fall on whole seconds, so a sample in the middle of each second is exact.
    counts = [out_twin(records, from_s + i + 0.5) for i in range(length)]
    assert curve.mean_share(from_s, from_s + length) == pytest.approx(sum(counts) / length / 5)
    assert curve.most(from_s, from_s + length) == max(*counts, out_twin(records, from_s))


def test_state_is_unknown_until_every_server_has_a_record() -> None:
    curve, _ = curve_of([(3, 0, True), (5, 1, True)], names=2)
    assert curve.known_s == 5
    assert curve_of([(3, 0, True)], names=2)[0].known_s == float("inf")


def test_servers_out_over_time_by_cell(story: Story) -> None:
    run = series.read(story("contained"))
    assert series.cells(run) == ["cell-0", "cell-1", "cell-2", "cell-3"]
    shares = {cell: series.out_bins(series.out_curve(run, cell), 1080, 1090, 5) for cell in series.cells(run)}
    assert shares["cell-0"] == [(1080, pytest.approx(0.6)), (1085, pytest.approx(0.6))]
    assert shares["cell-3"] == [(1080, 0), (1085, 0)]


# ---------------------------------------------------------------- customers, renewals, queue


def test_errors_in_bins_add_up(story: Story) -> None:
    run = series.read(story())
    bins = series.errors(run, 1010, 1200, 5.0)
    inside = [r for r in run.requests if 1010 <= r.t < 1200]
    assert len(bins) == 38
    assert sum(b.requests for b in bins) == len(inside)
    assert sum(b.failed for b in bins) == sum(r.outcome != "done" for r in inside)
    by_customer = series.customers(run, 1010, 1200)
    assert sum(n for n, _ in by_customer.values()) == len(inside)
    assert series.failed_ratio(run, 1010, 1030) == 0


def test_an_empty_bin_has_no_ratio(story: Story) -> None:
    run = series.read([r for r in story() if not isinstance(r, Request)])
    assert series.errors(run, 1010, 1012)[0].ratio is None
    assert series.failed_ratio(run, 1010, 1012) is None


def test_renewals_in_bins(story: Story) -> None:
    run = series.read(story())
    bins = series.renewals(run, 1000, 1200, 5.0)
    assert sum(b.asked for b in bins) == len(run.renewals)
    assert all(b.asked == b.in_time + b.too_late + b.other for b in bins)
    assert sum(b.too_late for b in bins) == sum(r.reason == "time-out" for r in run.renewals) > 0
    contained = series.read(story("contained"))
    assert sum(b.asked for b in series.renewals(contained, 1000, 1200, 5.0, "cell-1")) == len(contained.renewals) // 4


def test_queue_adds_nodes_and_takes_the_oldest() -> None:
    def node(name: str, t: float, waiting: int, oldest: float) -> NodeSample:
        return NodeSample(t=t, cell=name[:6], node=name, cpu_s=0, in_service=1, waiting=waiting, oldest_s=oldest)

    run = series.read([node("cell-0-a", 0.1, 4, 1.0), node("cell-0-a", 0.9, 2, 0.5), node("cell-1-a", 0.5, 7, 3.0)])
    assert series.queue(run, 0, 2) == [series.QueueBin(0, 11, 3.0), series.QueueBin(1, None, None)]
    assert series.queue(run, 0, 1, cell="cell-0") == [series.QueueBin(0, 3, 0.5)]


def test_windows_do_not_drift() -> None:
    assert len(list(series.starts(1033.3 + 40, 1033.3 + 70, 5))) == 6
    assert list(series.starts(0, 0.95, 0.1)) == [i * 0.1 for i in range(9)]


# ---------------------------------------------------------------- CPU


def limit(node: str, t: float, cpu_s: float, cores: float = 0.5) -> CpuLimit:
    return CpuLimit(t=t, node=node, limit_cores=cores, cpu_s=cpu_s, stopped_ratio=0)


@given(st.lists(st.floats(0, 0.5), min_size=12, max_size=12), st.floats(0, 0.99), st.floats(0.3, 3))
def test_cpu_agrees_with_its_dumb_twin(rates: list[float], shift: float, bin_s: float) -> None:
    """A node that spends rates[i] cores in second i, sampled every second."""
    spent = [0.0]
    for rate in rates:
        spent.append(spent[-1] + rate)
    run = series.read([limit("n", i + shift, cpu) for i, cpu in enumerate(spent)])
    for b in series.cpu(run, 1 + shift, 11 + shift, bin_s):
        steps = 1000  # the twin adds up a thousand slices
        total = sum(rates[min(11, int(b.t - shift + bin_s * (k + 0.5) / steps))] * bin_s / steps for k in range(steps))
        assert b.cores == pytest.approx(total / bin_s, abs=2e-3)
        assert b.limit_cores == 0.5


def test_cpu_sums_nodes_and_a_new_one_counts_from_its_first_sample() -> None:
    run = series.read([limit("a", t, 0.2 * t) for t in range(6)] + [limit("b", t, 0.4 * (t - 3)) for t in (3, 4, 5)])
    assert [b.cores for b in series.cpu(run, 1, 5)] == [pytest.approx(x) for x in (0.2, 0.2, 0.6, 0.6)]
    assert [b.limit_cores for b in series.cpu(run, 1, 5)] == [0.5, 0.5, 1.0, 1.0]


def test_cpu_of_a_node_that_ended_counts_to_its_end() -> None:
    run = series.read([limit("a", t, 0.2 * t) for t in range(4)] + [limit("b", t, 0.1 * t) for t in range(9)])
    bins = series.cpu(run, 0, 8)
    assert (bins[2].cores, bins[2].limit_cores) == (pytest.approx(0.3), 1.0)
    assert (bins[6].cores, bins[6].limit_cores) == (pytest.approx(0.1), 0.5)


def test_cpu_beyond_the_samples_is_unknown_not_idle() -> None:
    run = series.read([limit("a", t, 0.2 * t) for t in range(4)])
    assert [b.ratio is None for b in series.cpu(run, -2, 7)] == [
        True,
        True,
        False,
        False,
        False,
        False,
        True,
        True,
        True,
    ]
    assert series.cpu(series.read([]), 0, 1)[0].ratio is None


@given(st.lists(st.floats(0, 10), max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantile_is_the_smallest_value_with_enough_at_or_below(values: list[float], q: float) -> None:
    found = series.quantile(values, q)
    twin = next((v for v in sorted(values) if sum(w <= v for w in values) >= q * len(values) - 1e-9), None)
    assert found == twin

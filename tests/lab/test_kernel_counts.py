"""What the kernel counts, against a dumb twin that walks its trace with the core's quorum; and its input's refusals."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall import quorum
from cellwall.errors import Refused
from cellwall_lab import verbs
from cellwall_lab.backends.timeline import NS
from cellwall_lab.kernel.build import accounts_of, kernel_input, whole_parts
from cellwall_lab.kernel.model import PARTS, Cut, KernelInput, KernelResult, Limit, Outcome, Pause, Resume, Weight
from cellwall_lab.kernel.run import run

from .kernel_worlds import random_world
from .simulated_arms import DEAR, SCALED, Arm, R, layout_of, make_spec

# ---------------------------------------------------------------- the dumb twin


def twin(world: KernelInput, result: KernelResult) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(servers out, left, share failed by account, attempts), from the trace alone, one change and window at a time."""
    windows, cells = result.out_ns.shape
    accounts, trace = world.accounts, result.trace
    assert accounts is not None and trace is not None
    out_ns, left = np.zeros((windows, cells), np.int64), np.zeros((windows, cells), np.int64)
    failed, ended = np.zeros((windows, len(accounts.weight))), np.zeros(3, np.int64)
    state = [False] * len(world.cell)
    changes = [
        (int(t), int(s), int(o))
        for t, s, o in zip(trace.t_ns, trace.server, trace.outcome, strict=True)
        if o >= Outcome.IN
    ]
    edges = [(w * world.window_ns, -1, 0) for w in range(1, windows)]
    now_ns = 0
    for t_ns, server, outcome in [*sorted([*changes, *edges], key=lambda c: c[0]), (world.until_ns, -1, 0)]:
        span_ns, window = t_ns - now_ns, min(now_ns // world.window_ns, windows - 1)
        for number, cell in enumerate(world.cell):
            out_ns[window, cell] += 0 if state[number] else span_ns
        length_ns = min(world.window_ns, world.until_ns - window * world.window_ns)
        for replicas, account, parts in zip(accounts.servers, accounts.account, accounts.parts, strict=True):
            up = sum(state[s] for s in replicas)
            share = accounts.eventual_ratio * (not quorum.available("get-eventual", up))
            share += (1 - accounts.eventual_ratio) * (not quorum.available("put", up))
            failed[window, account] += share * parts / PARTS * span_ns / length_ns
        now_ns = t_ns
        if server >= 0:
            state[server] = outcome == Outcome.IN
            left[min(t_ns // world.window_ns, windows - 1), world.cell[server]] += outcome == Outcome.OUT
    for outcome in (Outcome.DONE, Outcome.TIME_OUT, Outcome.UNREACHABLE):
        ended[outcome] = (trace.outcome == outcome).sum()
    return out_ns, left, failed, ended


@pytest.mark.parametrize("number", range(12))
def test_counts_are_what_the_trace_says(number: int) -> None:
    world = random_world(number)
    result = run(world)
    out_ns, left, failed, ended = twin(world, result)
    assert (result.out_ns == out_ns).all()
    assert (result.left == left).all()
    assert (result.renewals.sum(axis=(0, 1)) == ended).all()
    assert result.failed_by_account == pytest.approx(failed, abs=1e-9)
    assert accounts_weighted(world, failed) == pytest.approx(result.failed_share, abs=1e-9)
    assert result.out_share == pytest.approx(out_ns.sum(axis=1) / (result.span_ns * len(world.cell)))


def accounts_weighted(world: KernelInput, failed: np.ndarray) -> np.ndarray:
    assert world.accounts is not None
    weights = world.accounts.weight / world.accounts.weight.sum()
    return np.array([sum(share * weight for share, weight in zip(row, weights, strict=True)) for row in failed])


def test_renewals_are_counted_where_they_began() -> None:
    world = msgspec.structs.replace(random_world(4), window_ns=NS // 10)
    result = run(world)
    assert result.trace is not None
    limit_ns = round(world.renewal.time_limit_s * NS)
    late = result.trace.outcome == Outcome.TIME_OUT
    began = np.bincount((result.trace.t_ns[late] - limit_ns) // world.window_ns, minlength=world.windows)
    assert late.sum() > 10
    assert (result.renewals[:, :, Outcome.TIME_OUT].sum(axis=1) == began).all()


def test_expected_failures_are_what_simulated_customers_get_on_average(tmp_path) -> None:
    """The kernel draws no request; the core draws thousands, and finds the same share of them failed."""
    spec = make_spec(SCALED, seed=3, load={"rps": 400.0})
    arm = Arm(spec, tmp_path)
    cut_s = arm.window().now_s + R
    arm.wait(R)
    cut = verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0)
    arm.do(cut)
    arm.wait(3 * R)
    stats = arm.window(last_s=R)
    given = kernel_input(spec, layout_of(spec), DEAR, [(cut_s, cut)], until_s=cut_s + 3 * R, window_s=cut_s + 2 * R)
    share = stats.requests_failed / stats.requests
    margin = 4 * math.sqrt(share * (1 - share) / stats.requests)
    assert 0.3 < share < 0.8
    assert run(given).failed_share[1] == pytest.approx(share, abs=margin)


# ---------------------------------------------------------------- input


@pytest.mark.parametrize(
    "change, named",
    [
        ({"partition": np.zeros(2, int)}, "partition"),
        ({"cores": np.zeros((1, 1))}, "cell|cores"),
        ({"window_ns": 0}, "window_ns"),
        ({"until_ns": 2**53}, "until_ns"),
        ({"actions": (Cut(0, 0, (1,)),)}, "cut.for_ns"),
        ({"actions": (Cut(0, 5, (1, 1)),)}, "cut.servers"),
        ({"actions": (Cut(0, 5, (999,)),)}, "cut.servers"),
        ({"actions": (Pause(0, 99),)}, "pause.cell"),
        ({"actions": (Limit(0, 0, 0.0),)}, "limit.factor"),
        ({"actions": (Resume(0, 0, -1),)}, "resume.over_ns"),
        ({"actions": (Weight(0, 0, 99, 50.0),)}, "weight.partition"),
        ({"actions": (Weight(0, 0, 0, 101.0),)}, "weight.percent"),
    ],
)
def test_an_input_that_means_nothing_is_refused_by_name(change: dict, named: str) -> None:
    with pytest.raises(Refused, match=named):
        run(msgspec.structs.replace(random_world(0), **change))


@pytest.mark.parametrize(
    "verb",
    [
        verbs.AddCapacity(),
        verbs.AdminProbe(),
        verbs.Wait(until="clean", deadline_s=5.0),
        verbs.LimitCpu(factor=0.5, for_s=3.0),
        verbs.GrowIndexes(),
    ],
    ids=lambda verb: type(verb).__name__,
)
def test_what_the_kernel_does_not_cover_is_refused_by_name(verb: object) -> None:
    spec = make_spec(SCALED)
    with pytest.raises(Refused, match=f"{type(verb).__name__}.*run the core"):
        kernel_input(spec, layout_of(spec), DEAR, [(30.0, verb)], until_s=60.0)


def test_a_script_goes_forward() -> None:
    spec = make_spec(SCALED)
    with pytest.raises(Refused, match="order"):
        kernel_input(spec, layout_of(spec), DEAR, [(30.0, verbs.Pause()), (20.0, verbs.Resume())], until_s=60.0)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=50))
def test_parts_make_the_whole_and_are_nearly_the_shares(shares: list[float]) -> None:
    total = sum(shares)
    parts = whole_parts([share / total for share in shares])
    assert sum(parts) == PARTS
    assert all(abs(part - share / total * PARTS) <= 1 for part, share in zip(parts, shares, strict=True))


def test_an_account_is_a_customer_and_its_targets_are_where_its_keys_lie() -> None:
    spec = make_spec(SCALED)
    layout = layout_of(spec)
    accounts = accounts_of(layout, spec)
    customers = {table.info.customer for table in layout.tables}
    assert len(accounts.weight) == len(customers)
    assert len(accounts.account) == len(layout.tables) * spec.load.keys_per_table
    held = {triple for table in layout.tables for triple in table.replicas[""]}
    assert {tuple(triple) for triple in accounts.servers.tolist()} <= held
    assert np.bincount(accounts.account, weights=accounts.parts).tolist() == [PARTS] * len(customers)

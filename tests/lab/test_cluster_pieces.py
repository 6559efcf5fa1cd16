"""The pure parts of the Kubernetes backend: names, values, pods, seams of streams, costs, clocks, readiness."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Refused, Unavailable, Unknown
from cellwall.history import NodeSample
from cellwall.placement import make_layout
from cellwall.resources import MetadataServiceSpec, StorageFleetSpec, cores, world
from cellwall.spec import CpuSpec, FleetSpec, LoadSpec, RenewalPolicy, WorldSpec
from cellwall_lab.backends.calibrate import Calibration
from cellwall_lab.backends.cluster import names
from cellwall_lab.backends.cluster.calibrate import STORM_RATIO, Spent, at_rest, costs, spent
from cellwall_lab.backends.cluster.clocks import Bounds, bounds, refuse_apart
from cellwall_lab.backends.cluster.follow import Seam
from cellwall_lab.backends.cluster.pods import Pod, pod_of, quantity_cores
from cellwall_lab.backends.cluster.readiness import Observed, counted, hopeless, missing
from cellwall_lab.backends.cluster.release import expired
from cellwall_lab.backends.cluster.values import limits, node_cores, values
from cellwall_lab.backends.pacing import reentry_over_s

from .fake_cluster import pod

# ---------------------------------------------------------------- names


@given(arm=st.text(max_size=80), seed=st.integers(0, 10**12), number=st.integers(0, 10**12))
def test_a_namespace_is_a_label_of_dns_that_names_the_arm(arm: str, seed: int, number: int) -> None:
    name = names.namespace_of(arm, seed, number)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


def test_a_namespace_says_arm_and_seed() -> None:
    assert names.namespace_of("cells-4", 7, 0x1F) == "cellwall-cells-4-7-001f"


def test_an_address_of_the_map_is_a_pod() -> None:
    assert names.host_of("world-a-11.world:7000") == "pods/world-a-11:7000"


# ---------------------------------------------------------------- values


def test_what_the_cluster_is_told_is_the_arm() -> None:
    spec = WorldSpec(
        seed=9,
        cells=4,
        fleet=FleetSpec(servers=200, large_records=900, indexes=False),
        renewal=RenewalPolicy(renew_every_s=12.0, time_limit_s=1.5),
        load=LoadSpec(rps=40.0, keys_per_table=3),
        cpu=CpuSpec(total_cores=0.6),
    )
    given_values = values(spec, 17.26)
    assert b"null" not in msgspec.json.encode(given_values), "to Helm a null removes"
    service = msgspec.convert(given_values["service"]["spec"], MetadataServiceSpec)
    fleet = msgspec.convert({"service": "world", **given_values["fleet"]["spec"]}, StorageFleetSpec)
    load = msgspec.convert(given_values["load"]["spec"], LoadSpec)
    assert msgspec.structs.replace(world(service, fleet, load), cpu=spec.cpu) == spec
    assert cores(service.cpu.total) == 4.0, "no limit that binds until the fleet is in"
    assert service.reentry.over_seconds == 17.3
    assert given_values["load"]["rps"] == 0


@given(total=st.floats(0.15, 8), cells=st.integers(1, 16), nodes=st.integers(1, 3))
def test_a_nodes_share_is_what_kubernetes_can_keep(total: float, cells: int, nodes: int) -> None:
    spec = WorldSpec(cells=cells, nodes_per_cell=nodes)
    share = node_cores(spec, total)
    assert share * 1000 == pytest.approx(round(share * 1000))
    assert abs(share * cells * nodes - total) <= 0.0005 * cells * nodes + 1e-9
    assert abs(cores(limits(spec, total)["spec"]["cpu"]["total"]) - total) <= 0.0005


def test_cells_of_a_quarter_are_let_in_over_the_time_of_the_whole() -> None:
    prices = Calibration(5e-6, 3e-4, 1, 1).costs
    layouts = [make_layout(WorldSpec(cells=n), lambda name: Random(f"1/{name}")) for n in (1, 4)]
    whole_s, *_ = (reentry_over_s(layouts[0], "cell-0", prices, 0.4),)
    quarters_s = [reentry_over_s(layouts[1], f"cell-{n}", prices, 0.1) for n in range(4)]
    assert sum(quarters_s) / 4 == pytest.approx(whole_s)


# ---------------------------------------------------------------- pods


def test_a_pods_limit_is_what_the_kubelet_says() -> None:
    found = pod_of(pod("n-0", "node", cell="cell-0", cpu="384m", joined=True))
    assert (found.limit_cores, found.joined, found.serves, found.cell) == (0.384, True, True, "cell-0")
    assert pod_of(pod("n-0", "node")).limit_cores == 0.0


@pytest.mark.parametrize(("text", "value"), [("2", 2.0), ("0.5", 0.5), ("384m", 0.384), ("384912u", 0.384912)])
def test_quantities(text: str, value: float) -> None:
    assert quantity_cores(text) == pytest.approx(value)


def test_a_pod_that_does_not_run_says_why() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    assert pod_of(pod("n-0", "node", state=waiting)).waiting == "ImagePullBackOff no such image"
    unplaced = pod("n-0", "node", state={})
    unplaced["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    assert "Unschedulable" in pod_of(unplaced).waiting
    ended = pod_of(pod("n-0", "node", state={"terminated": {"reason": "OOMKilled", "exitCode": 137}}))
    assert (ended.exit_status, ended.serves, ended.ended) == (137, False, "OOMKilled, exit status 137")


# ---------------------------------------------------------------- streams that break


def stamp(ns: int) -> bytes:
    second = datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{second}.{ns % 10**9:09d}Z".encode()


@given(
    gaps=st.lists(st.sampled_from([0, 1, 1000, 10**8, 10**9, 3 * 10**9]), max_size=30),
    cuts=st.lists(st.integers(0, 12), max_size=6),
)
def test_every_line_comes_once_and_in_order_however_often_a_stream_breaks(gaps: list[int], cuts: list[int]) -> None:
    """Twin: a kubelet that gives all lines from the second asked for on; lines of one nanosecond differ."""
    lines, ns = [], 1_760_000_000 * 10**9 + 123
    for number, gap in enumerate(gaps):
        ns += gap
        lines.append((ns, b"line %d" % number))
    seam, got = Seam(), []
    for cut in [*cuts, len(lines)]:
        since_ns = 0
        if seam.since is not None:
            since_ns = int(datetime.fromisoformat(seam.since).timestamp()) * 10**9
        stream = [(at, line) for at, line in lines if at >= since_ns]
        for at, line in stream[: cut if cut < len(lines) else None]:
            if (new := seam.new(stamp(at) + b" " + line)) is not None:
                got.append(new)
    assert got == [line for _, line in lines]


def test_times_of_another_zone_and_without_fractions_are_the_same_instants() -> None:
    seam = Seam()
    assert seam.new(b"2026-11-23T02:00:00.5+01:00 a") == b"a"
    assert seam.since == "2026-11-23T01:00:00Z"
    assert seam.new(b"2026-11-23T01:00:00.500000000Z a") is None
    assert seam.new(b"2026-11-23T01:00:00Z b") is None, "older than the last"
    assert seam.new(b"2026-11-23T01:00:01Z c") == b"c"
    assert seam.new(b"no time at all") == b"no time at all"


# ---------------------------------------------------------------- costs


@given(
    c=st.floats(1e-6, 2e-5),
    c0=st.floats(1e-4, 1e-3),
    rest=st.floats(0, 0.02),
    loads=st.lists(st.tuples(st.integers(1, 60_000), st.integers(0, 300)), min_size=6, max_size=20),
)
def test_costs_are_found_again(c: float, c0: float, rest: float, loads: list[tuple[int, int]]) -> None:
    """c has the rest in it, and is taken from healthy traffic to a storm."""
    intervals = [Spent(1.0, rest + c * records + c0 * requests, records, requests) for records, requests in loads]
    ratios = {requests / records for records, requests in loads}
    if max(ratios) < min(ratios) * 1.01 + 1e-6:
        return  # requests in proportion to records: nobody could tell the two apart
    found = costs(intervals, intervals, rest)
    assert found.c_request_s == pytest.approx(c0, rel=1e-3)
    healthy_s = c + rest * len(loads) / sum(records for records, _ in loads)
    assert found.c_record_s == pytest.approx(STORM_RATIO * healthy_s, rel=1e-3)


@pytest.mark.parametrize(
    "intervals",
    [
        [],
        [Spent(1.0, 0.2, 40_000, 40)] * 5,
        [Spent(1.0, 0.2, 40_000, 40)] * 10,  # always in the same proportion
        [Spent(1.0, 0.0, 0, 0)] * 10,
    ],
)
def test_costs_that_samples_cannot_tell_are_unknown(intervals: list[Spent]) -> None:
    with pytest.raises(Unknown, match=r"no sensible costs.*total_cores"):
        costs(intervals, intervals, 0.0)


def test_a_record_costs_what_it_costs_without_a_limit_and_a_request_what_it_costs_with_one() -> None:
    free = [Spent(1.0, 5e-6 * records + 3e-4 * 40, records, 40) for records in range(30_000, 42_000, 1000)]
    limited = [Spent(1.0, 4e-6 * 34_000 + 3e-4 * requests, 34_000, requests) for requests in range(20, 260, 20)]
    found = costs(free, limited, 0.0)
    assert (found.c_record_s, found.c_request_s) == (pytest.approx(STORM_RATIO * 5e-6), pytest.approx(3e-4))


def test_a_node_at_rest_costs_what_it_costs_when_nobody_asks() -> None:
    start, quiet, asked = Spent(1.0, 0.9, 0, 0), Spent(2.0, 0.02, 0, 0), Spent(1.0, 0.3, 50_000, 30)
    assert at_rest([start, quiet, quiet, asked, asked, asked]) == pytest.approx(0.01)
    assert at_rest([asked]) == 0.0


def test_what_was_spent_is_the_difference_of_samples() -> None:
    def sample(t: float, cpu_s: float, records: int, answered: int, abandoned: int) -> NodeSample:
        counts: dict[str, Any] = {"in_service": 0, "waiting": 0, "oldest_s": 0.0}
        return NodeSample(
            t=t, cell="cell-0", node="n", cpu_s=cpu_s, records=records, answered=answered, abandoned=abandoned, **counts
        )

    samples = [sample(1, 1.0, 100, 10, 0), sample(2, 1.5, 300, 12, 1), sample(3, 1.5, 300, 12, 1)]
    assert spent(samples) == [Spent(1, 0.5, 200, 3), Spent(1, 0.0, 0, 0)]


# ---------------------------------------------------------------- clocks


@given(
    offset_s=st.floats(-5, 5),
    asks=st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 0.5), st.floats(0, 1)), min_size=1, max_size=20),
)
def test_the_true_offset_lies_within_the_bounds(offset_s: float, asks: list[tuple[float, float, float]]) -> None:
    told = []
    for asked_s, took_s, when in asks:
        shown_s = asked_s + when * took_s + offset_s
        told.append((asked_s, float(int(shown_s // 1)), asked_s + took_s))
    found = bounds(told)
    assert found.least_s - 1e-9 <= offset_s <= found.most_s + 1e-9


def test_clocks_that_are_apart_are_refused_and_others_not() -> None:
    refuse_apart("worker", Bounds(-0.05, 0.04))
    refuse_apart("worker", Bounds(-0.5, 0.5))  # not known well enough to refuse
    for apart in (Bounds(0.9, 1.0), Bounds(-2.0, -1.9), Bounds(0.2, 0.1)):
        with pytest.raises(Unavailable, match="clock of Kubernetes node worker"):
            refuse_apart("worker", apart)


# ---------------------------------------------------------------- readiness and expiry


def resource(ready: bool, generation: int = 2, seen: int = 2, **more: Any) -> dict[str, Any]:
    conditions = [
        {"type": kind, "status": status, "observedGeneration": seen, "reason": f"Is{kind}", "message": "words"}
        for kind, status in {"Ready": str(ready), **more}.items()
    ]
    return {"kind": "K", "metadata": {"name": "world", "generation": generation}, "status": {"conditions": conditions}}


def observed(service: Any = None, fleet: Any = None, cells: Any = (), pods: tuple[Pod, ...] = ()) -> Observed:
    return Observed(service=service, fleet=fleet, cells=cells, pods={p.name: p for p in pods})


UP = tuple(pod_of(pod(name, name)) for name in ("frontend", "load"))


def test_nothing_is_waited_for_when_all_is_up() -> None:
    assert missing(observed(resource(True), resource(True), pods=UP)) == []


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (observed(pods=UP), "metadata service: not seen by the operator"),
        (observed(resource(True), resource(False), pods=UP), "storage fleet: IsReady words"),
        (observed(resource(True, generation=3), resource(True), pods=UP), "metadata service"),
        (observed(resource(True), resource(True), pods=UP[:1]), "load: starting"),
    ],
)
def test_what_is_missing_is_told(seen: Observed, text: str) -> None:
    assert any(text in wait for wait in missing(seen))


def test_what_no_waiting_cures_is_told_with_the_way_out() -> None:
    assert hopeless(observed(resource(False), resource(False, Stalled="False"))) is None
    stalled = hopeless(observed(resource(False, Stalled="True")))
    assert isinstance(stalled, Refused) and "IsStalled: words" in str(stalled)
    unpulled = pod_of(pod("n", "node", state={"waiting": {"reason": "ErrImageNeverPull"}}))
    refused = hopeless(observed(pods=(unpulled,)))
    assert isinstance(refused, Refused) and "ErrImageNeverPull; `make up`" in str(refused)
    crashing = hopeless(observed(pods=(pod_of(pod("n", "node", restartCount=6)),)))
    assert isinstance(crashing, Unavailable) and "started 6 times again" in str(crashing)


def test_pods_are_counted_by_kind() -> None:
    pending = pod_of(pod("s-1", "storage", state={"waiting": {"reason": "ContainerCreating"}}))
    assert counted({"a": pod_of(pod("s-0", "storage")), "b": pending}) == "storage 1/2"


def namespace(name: str, expires: str, **more: Any) -> dict[str, Any]:
    marks = {"labels": {names.RUN_LABEL: "x"}, "annotations": {names.EXPIRES: expires}}
    return {"metadata": {"name": name, **marks, **more}}


def test_only_what_has_expired_and_is_ours_is_swept() -> None:
    now_s = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    found = [
        namespace("old", "2026-11-22T23:59:59Z"),
        namespace("new", "2026-11-23T00:00:01Z"),
        namespace("odd", "tomorrow"),
        namespace("going", "2026-11-22T00:00:00Z", deletionTimestamp="…"),
        {"metadata": {"name": "bare", "labels": {names.RUN_LABEL: "x"}}},
    ]
    assert expired(found, now_s) == ["old"]

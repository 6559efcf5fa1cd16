"""Whether a run can mean anything: clean, healthy before the trigger, and the trigger real and gone.

Decides `clean`, `healthy-before`, `trigger-bit` and `no-fault-active`. `clean` is never broken: a run that
was robbed or cut short says nothing about the system, so it is unknown and says what to do (rule 4).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Unknown
from ..history import Fault, NodeSample
from ..moments import between, fault_spans
from ..series import quantile
from .case import EDGE_S, Case, Finding, percent, weigh
from .spec import ClaimSpec

BUSY_QUEUE = 20  # requests at a node from which on it has work for the whole of a second (guess)
STORM_LIMITS = 3  # time limits after the cut in which it is decided whether it ignites (DESIGN.md, decision 5)
OVERDUE_S = 1.0  # a fault ends when its process next has a turn, on a busy machine later (guess)
LARGE_SHARE = 0.5  # a membership counts as large from this share of fleet.large_records (the issue)


def clean(case: Case, claim: ClaimSpec) -> Finding:
    """Valid, or unknown with every reason and what to do about it."""
    problems: list[str] = []
    notes: list[str] = []
    ratio: float | None = None
    for part in (_complete, _quiet, _unrobbed, _unstarved, _as_calibrated, _in_time):
        try:
            value, note = part(case, claim)
            ratio = value if part is _quiet else ratio
            notes.append(note)
        except Unknown as reason:
            problems.append(str(reason))
    if problems:
        return Finding("unknown", ratio, "; ".join(problems))
    return Finding("held", ratio, "; ".join(notes))


def _complete(case: Case, claim: ClaimSpec) -> tuple[float, str]:
    """Everything that makes a history one of a finished run."""
    if not case.servers:
        raise Unknown("no world is on record")
    case.clean()
    case.need("t0_s")
    case.targets()
    case.need("end_s")
    if not all(f.receipt for f in case.run.faults if f.fault == "cut" and f.state == "off"):
        raise Unknown("the cut left no receipt, so nothing shows that it bit: run again")
    for fault, _, off_s in fault_spans(case.run):
        due_s = fault.receipt.get("expires_s")
        if off_s is not None and due_s is not None and off_s > due_s + OVERDUE_S:
            raise Unknown(f"{fault.id} outlived its window by {off_s - due_s:.1f} s, so it was another trigger")
    return 0.0, "history complete"


def _quiet(case: Case, claim: ClaimSpec) -> tuple[float, str]:
    """No false time-out and nobody out in the clean window; p99 of large renewals up to the administrative request,
    whose own load is no part of the fleet's."""
    from_s, to_s = case.clean()
    probed_s = min((s.t for s in case.steps("admin-probe", from_s, to_s)), default=to_s)
    spec = case.run.spec
    if spec is None:
        raise Unknown("no world is on record")
    # Without secondary indexes memberships are half as long; half of a large one is still a large one there.
    least = LARGE_SHARE * spec.fleet.large_records * (1 if spec.fleet.indexes else 0.5)
    ended = list(case.ended_in(from_s, to_s))
    waits = [r.waited_s for r in case.ended_in(from_s, probed_s) if case.servers.get(r.server, ("", 0))[1] >= least]
    p99_s = quantile(waits, 0.99)
    if p99_s is None:
        raise Unknown("no large renewal ended in the clean window: make it longer")
    share = p99_s / case.limit_s
    failed = sum(r.outcome != "done" for r in ended)
    # The cut itself may show in the very instant of its mark.
    most = case.out(from_s).most(from_s, to_s - EDGE_S)
    text = f"clean window {case.span(from_s, to_s)}: p99 of {len(waits)} large renewals {p99_s:.2f} s = {share:.2f} T"
    if share > claim["max"]:
        raise Unknown(f"{text}, more than {claim['max']:g} T: end other programs, or choose a smaller load factor")
    if failed or most:
        raise Unknown(f"{text}; {failed} renewals failed and {most} servers were out before any fault: run again")
    return share, text


def _unrobbed(case: Case, claim: ClaimSpec) -> tuple[float, str]:
    """The host's CPU steal. Simulated time cannot be stolen."""
    if case.run.world is not None and case.run.world.backend == "simulation":
        return 0.0, "no CPU steal in a simulation"
    samples = [h.steal_ratio for h in case.run.hosts]
    if not samples and case.run.world is not None and case.run.world.backend == "kubernetes":
        # Its machines are elsewhere; what was stolen there shows in what the nodes got (`_unstarved`).
        return 0.0, "CPU steal of the cluster's machines is not on record"
    if not samples:
        raise Unknown("the host's CPU steal is not on record")
    mean = sum(samples) / len(samples)
    text = f"CPU steal {percent(mean)} on average, {percent(max(samples))} at most"
    if mean > claim["steal_max"]:
        raise Unknown(f"{text}, more than {percent(claim['steal_max'])}: run again when the host is quieter")
    return mean, text


def _unstarved(case: Case, claim: ClaimSpec) -> tuple[float, str]:
    """Whether nodes with work to do got the CPU that their limit allows, from the trigger's removal to the pause.

    Steal is what other machines take; this is what other programs on this one take. Either makes cells smaller
    than they were meant to be."""
    from_s = case.need("t0_s")
    to_s = case.at.stuck_end_s if case.at.stuck_end_s is not None else case.need("end_s")
    limits = {limit.node: limit.limit_cores for limit in case.run.limits}
    if not limits:
        raise Unknown("the metadata nodes' CPU limits are not on record")
    spent_s = allowed_s = 0.0
    for before, after in _busy(case, from_s, to_s):
        if after.node in limits:
            spent_s += after.cpu_s - before.cpu_s
            allowed_s += limits[after.node] * (after.t - before.t)
    if not allowed_s:
        return 0.0, "no node had a queue"
    starved = max(0.0, 1 - spent_s / allowed_s)
    text = f"nodes with a queue got {percent(1 - starved)} of their CPU limit"
    if starved > claim["starved_max"]:
        raise Unknown(f"{text}, {percent(starved)} too little: end other programs on this machine and run again")
    return starved, text


def _as_calibrated(case: Case, claim: ClaimSpec) -> tuple[float, str]:
    """Whether a record costs after the cut what it cost when the limit was made from it.

    On a host that has become faster since then the same limit is more than was meant, and the cut's requests are
    answered before they pile up: the load factor of the run is not the experiment's. Slower is `_unstarved`'s."""
    world = case.run.world
    planned_s = 0.0 if world is None else world.calibration.get("c_record_s", 0.0)
    if world is None or case.run.spec is None or case.run.spec.cpu.total_cores is not None or not planned_s:
        return 0.0, "the CPU limit was given, not calibrated"
    from_s = case.need("t0_s")
    cpu_s = records = 0.0
    for before, after in _busy(case, from_s, from_s + STORM_LIMITS * case.limit_s):
        answered = after.answered + after.abandoned - before.answered - before.abandoned
        cpu_s += after.cpu_s - before.cpu_s - answered * world.calibration.get("c_request_s", 0.0)
        records += after.records - before.records
    if not records:
        return 0.0, "no node had a queue after the cut"
    cost_s = cpu_s / records
    text = f"a record cost {cost_s * 1e6:.1f} µs after the cut, {planned_s * 1e6:.1f} µs when the CPU limit was made"
    faster = 1 - cost_s / planned_s
    if faster > claim["faster_max"]:
        raise Unknown(f"{text}: the host became {percent(faster)} faster, so the limit is too large: run again")
    return faster, text


def _busy(case: Case, from_s: float, to_s: float) -> Iterator[tuple[NodeSample, NodeSample]]:
    """Each node's samples in pairs, where it had a queue at both."""
    last: dict[str, NodeSample] = {}
    for sample in between(case.run.nodes, from_s, to_s):
        before = last.get(sample.node)
        last[sample.node] = sample
        if before is not None and min(_queue(before), _queue(sample)) >= BUSY_QUEUE:
            yield before, sample


def _queue(sample: NodeSample) -> int:
    return sample.in_service + sample.waiting


def _in_time(case: Case, claim: ClaimSpec) -> tuple[float, str]:
    """The load generator's lateness from the trigger's removal to the end of the stuck window."""
    from_s = case.need("t0_s")
    to_s = case.at.stuck_end_s if case.at.stuck_end_s is not None else case.need("end_s")
    late_s = quantile((r.late_s for r in between(case.run.requests, from_s, to_s)), 0.99)
    if late_s is None:
        raise Unknown("no customer request is on record in the stuck window")
    text = f"load generator p99 {1000 * late_s:.1f} ms late"
    if late_s > claim["late_max_s"]:
        raise Unknown(f"{text}, more than {1000 * claim['late_max_s']:g} ms: free a core, or lower load.rps")
    return late_s, text


def healthy_before(case: Case, claim: ClaimSpec) -> Finding:
    """Few errors, nobody out, and administration works."""
    from_s, to_s = case.clean()
    ratio = case.failed(from_s, to_s)
    most = case.out(from_s).most(from_s, to_s - EDGE_S)
    probed, probe = case.probe()
    text = f"{case.span(from_s, to_s)}: {percent(ratio)} of requests failed, at most {most} servers out; {probe}"
    return weigh(ratio < claim["max"] and not most and probed, ratio, text)


def trigger_bit(case: Case, claim: ClaimSpec) -> Finding:
    """Every cut's receipt: it reached all its targets and refused packets."""
    case.need("t0_s")
    targets = case.targets()
    offs = [f for f in case.run.faults if f.fault == "cut" and f.state == "off"]
    refused = sum(_count(f, "refused") for f in offs)
    servers = sum(_count(f, "servers") for f in offs)
    text = f"{servers} of {len(targets)} targets cut, {refused} packets refused"
    return weigh(refused >= claim["min"] and servers == len(targets), float(refused), text)


def _count(fault: Fault, name: str) -> int:
    value = fault.receipt.get(name)
    if isinstance(value, list):
        return len(value)
    if not isinstance(value, int):
        raise Unknown(f"the receipt of cut {fault.id} does not say how many {name}: run again")
    return value


def faults_after(case: Case, to_s: float) -> list[str]:
    """Faults on between the trigger's removal and ``to_s``. The pause is the runbook's cure, not a fault."""
    t0_s = case.need("t0_s")
    active = [
        f"{f.fault} {f.id}"
        for f, on_s, off_s in fault_spans(case.run)
        if f.fault != "pause" and on_s < to_s and (off_s is None or off_s > t0_s + EDGE_S)
    ]
    # A fault whose beginning is not on record was on until its end.
    begun = {f.id for f in case.run.faults if f.state == "on"}
    ends = [f for f in case.run.faults if f.state == "off" and f.id not in begun]
    return active + [f"{f.fault} {f.id}" for f in ends if f.fault != "pause" and f.t > t0_s + EDGE_S]


def no_fault_active(case: Case, claim: ClaimSpec) -> Finding:
    """From the trigger's removal to the end."""
    to_s = case.need("end_s")
    active = faults_after(case, to_s)
    text = f"{case.span(case.need('t0_s'), to_s)}: {', '.join(active) or 'no fault'} active"
    return weigh(len(active) <= claim["max"], float(len(active)), text)

"""What a cell is told to be: its nodes, the capacity that waits, its headroom.

Decides which facts about a cell are a trouble, how it is named and what to do about it. Figures that change by
themselves are kept while they are near what was written, so that a cell at rest is not written again.
"""

from __future__ import annotations

import msgspec

from cellwall import status as form

from .. import names
from ..conditions import Finding, Trouble, dated, kstatus, timestamp
from ..manifests.cell import node_selector
from ..objects import Body
from .cell import candidates
from .view import CellView, View

HEADROOM_SHARE = 0.75  # of the time limit; a largest membership that takes more has none (cluster contract)
NEAR_SHARE = 0.1  # of the time limit: a figure that moved by less is kept as it was written (guess)
GROWN_RATIO = 0.05  # of the records: likewise (guess)
SLOW_START_S = 300.0  # a node or storage pod that is not ready by then never will be by itself (guess)


def cell_status(view: View, one: CellView, now_s: float) -> tuple[form.MetadataCellStatus, list[Finding]]:
    cell = one.cell
    assert cell is not None
    spec, written = cell.spec, cell.status
    wanted = 0 if spec is None else spec.nodes
    joined = [pod for pod in one.pods if pod.joined]
    troubles = _cell_troubles(view, one, wanted, now_s)
    complete = len(one.serving) >= wanted and one.store_ready
    findings = kstatus(
        ready=complete and one.open,
        well=f"{wanted} of {wanted} nodes serve",
        settled=complete and (one.open or one.paused),
        doing=_cell_doing(view, one, wanted),
        troubles=troubles,
        reason="Paused" if one.paused else "Progressing",
    )
    capacity = capacity_of(one, written)
    findings.append(_pending(one, wanted, capacity, now_s))
    headroom = headroom_of(one, written)
    if headroom is not None and spec is not None:
        findings.append(_headroom(one, headroom, spec.time_limit_seconds, written))
    resizes = view.installation.can_resize
    why = "Resizable" if resizes else "NotResizable"
    message = "" if resizes else "pods cannot be resized here (Kubernetes 1.33): nodes start as slowly as they run"
    findings.append(Finding(form.STARTUP_ALLOWANCE, resizes, why, message))
    land = view.land
    return (
        form.MetadataCellStatus(
            observed_generation=cell.generation,
            nodes=len(joined),
            replicas=len(one.pods),
            selector=",".join(f"{k}={v}" for k, v in sorted(node_selector(view.name, one.id).items())),
            paused=one.paused,
            servers=None if land is None else land.count.get(one.id, 0),
            groups=None if land is None else land.groups.get(one.id, 0),
            records=None if land is None else _records(one, written, land.records.get(one.id, 0)),
            capacity=capacity,
            headroom=headroom,
            conditions=dated(findings, written, cell.generation, now_s),
        ),
        findings,
    )


def _records(one: CellView, written: Body, placed: int) -> int:
    """Those that were placed, or as many as its servers were last told of; kept while it is near."""
    if one.statistics is None or one.statistics.records <= placed:
        return placed
    before = written.get("records") or 0
    return before if abs(one.statistics.records - before) < GROWN_RATIO * before else one.statistics.records


def _cell_doing(view: View, one: CellView, wanted: int) -> str:
    if not one.store_ready:
        return "the store is starting"
    if len(one.serving) < wanted:
        return f"{len(one.serving)} of {wanted} nodes have joined"
    if one.paused:
        return "paused: renewals are refused"
    if not view.published.let_in:
        return "waits for the whole service to be let in"
    return "servers are about to be let in" if one.id in view.published.resuming else "waits for its re-entry"


def _cell_troubles(view: View, one: CellView, wanted: int, now_s: float) -> list[Trouble]:
    assert one.cell is not None
    out = []
    if one.cell.spec is None:
        out.append(Trouble("UnreadableSpec", f"spec: {one.cell.wrong}: upgrade cellwall-crds", stalled=True))
    out += view.refusals(one.name)
    if view.service is None:
        message = f"there is no MetadataService {view.name}; create it, or delete this cell"
        out.append(Trouble("NoService", message, stalled=True))
    if not one.store_ready and (one.store_trouble or view.published.let_in):
        why = one.store_trouble or "its pod is not ready"
        message = (
            f"the store does not answer ({why}): kubectl logs {names.store(one.name)}-0 --previous; is its volume full?"
        )
        out.append(Trouble("StoreNotReady", message))
    for pod in one.pods:
        slow = now_s - pod.created_s > SLOW_START_S
        if pod.trouble or (not pod.started and slow):
            why = pod.trouble or f"not started within {SLOW_START_S:g} s"
            out.append(Trouble("NodeNotReady", f"{pod.name}: {why}: kubectl describe pod {pod.name}"))
            break
    if not one.serving and view.published.let_in and one.pods:
        out.append(Trouble("NoNode", f"none of {wanted} nodes serves: renewals fail in this cell"))
    return out


def capacity_of(one: CellView, written: Body) -> form.Capacity | None:
    """Attempts to join, as counted so far and with the last one, if that is not counted yet."""
    before = msgspec.convert(written["capacity"], form.Capacity) if written.get("capacity") else None
    last = one.last
    if last is None or (before is not None and (before.last_attempt_time or "") >= timestamp(last.at_s)):
        return before
    again = before is not None and before.last_outcome != "done"
    return form.Capacity(
        attempts=(before.attempts if before is not None and again else 0) + 1,
        last_outcome=last.outcome if last.outcome in ("done", "refused") else "unknown",  # type: ignore[arg-type]
        last_reason=last.reason[:1000] or None,
        last_attempt_time=timestamp(last.at_s),
    )


def _pending(one: CellView, wanted: int, capacity: form.Capacity | None, now_s: float) -> Finding:
    joined = sum(pod.joined for pod in one.pods)
    if joined >= wanted:
        return Finding(form.CAPACITY_PENDING, False, "Complete", f"{joined} of {wanted} nodes have joined")
    waiting = candidates(one)
    missing = f"{joined} of {wanted} nodes have joined"
    if not waiting:
        return Finding(form.CAPACITY_PENDING, True, "NodeStarting", f"{missing}; the next one is starting")
    if capacity is not None and capacity.last_outcome not in (None, "done"):
        how = "was not answered in time" if capacity.last_outcome == "unknown" else "was refused"
        reason = f": {capacity.last_reason}" if capacity.last_reason else ""
        message = (
            f"{missing}; attempt {capacity.attempts} {how}{reason}; while renewals overload the nodes, pause first"
        )
        return Finding(form.CAPACITY_PENDING, True, "JoinFailed", message)
    return Finding(form.CAPACITY_PENDING, True, "Joining", f"{missing}; {waiting[0].name} takes over partitions")


def headroom_of(one: CellView, written: Body) -> form.Headroom | None:
    """The largest membership's last retrieval. Kept as it was written while it has hardly moved."""
    before = msgspec.convert(written["headroom"], form.Headroom) if written.get("headroom") else None
    if one.statistics is None or one.spec is None:
        return before
    share = one.statistics.retrieval_s / one.spec.time_limit_seconds
    now = form.Headroom(
        retrieval_millis=round(one.statistics.retrieval_s * 1000),
        records=one.statistics.largest_records,
        percent=round(100 * (1 - share)),
    )
    if before is None or before.percent is None or before.records is None:
        return now
    moved = abs(before.percent - (now.percent or 0)) / 100
    grown = abs(before.records - (now.records or 0)) > GROWN_RATIO * before.records
    return now if moved >= NEAR_SHARE or grown else before


def _headroom(one: CellView, headroom: form.Headroom, limit_s: float, written: Body) -> Finding:
    share = 1 - (headroom.percent or 0) / 100
    largest = f"the largest membership, {headroom.records} records" + (
        f" of {one.statistics.largest}" if one.statistics is not None else ""
    )
    if one.statistics is None:  # say what was said
        known: Body = next((c for c in written.get("conditions") or () if c.get("type") == form.HEADROOM), {})
        return Finding(
            form.HEADROOM, known.get("status") == "True", known.get("reason", "Unknown"), known.get("message", "")
        )
    took = f"{largest}, took {(headroom.retrieval_millis or 0) / 1000:.2f} of {limit_s:g} s"
    if share < HEADROOM_SHARE:
        return Finding(form.HEADROOM, True, "Enough", took)
    return Finding(form.HEADROOM, False, "Short", f"{took}: add cells or CPU, or make memberships smaller")

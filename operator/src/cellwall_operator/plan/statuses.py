"""What the three resources are told to be: their statuses.

Decides which facts are a trouble, how it is named and what to do about it. Figures that change by themselves are
rounded, or kept while they are near what was written, so that a service at rest is not written again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cellwall import status as form
from cellwall.model import CellMap

from .. import names
from ..actions import Action, Event, Status
from ..conditions import Finding, Trouble, dated, events, kstatus, plain, timestamp
from ..manifests.cell import node_selector
from ..objects import Body, Fleet, Pod, Resource, Service
from . import publish
from .cell import candidates
from .deeds import ref
from .fleet import IN_SHARE
from .view import CellView, View

HEADROOM_SHARE = 0.75  # of the time limit; a largest membership that takes more has none (cluster contract)
NEAR_SHARE = 0.1  # of the time limit: a figure that moved by less is kept as it was written (guess)
SLOW_START_S = 300.0  # a node or storage pod that is not ready by then never will be by itself (guess)


def tracks(view: View, now_s: float) -> dict[str, list[Action]]:
    """One for each object, so that one that is going keeps no other's from being written."""
    out: dict[str, list[Action]] = {}
    ready = 0
    for one in view.cells:
        if one.cell is not None and not one.cell.deleting:
            status, findings = cell_status(view, one, now_s)
            ready += next(finding.status for finding in findings if finding.type == form.READY)
            out[f"{one.name}/status"] = _write(one.cell, status, findings)
    for cell in view.strays:
        if not cell.deleting:
            stray = Trouble("NotOfService", f"{view.name} has no cell of this number; delete it", stalled=True)
            out[f"{cell.name}/status"] = _stalled(cell, form.MetadataCellStatus, stray, now_s)
    for fleet in view.fleets:
        if fleet is not view.fleet or view.service is None:
            out[f"{fleet.name}/fleet-status"] = _stalled(fleet, form.StorageFleetStatus, _unserved(view, fleet), now_s)
        else:
            out[f"{fleet.name}/fleet-status"] = _write(fleet, *fleet_status(view, fleet, now_s))
    if view.service is not None and not view.service.deleting:
        out["service/status"] = _write(view.service, *service_status(view, view.service, ready, now_s))
    return out


def _write(of: Resource[Any], status: msgspec.Struct, findings: list[Finding]) -> list[Action]:
    told = plain(status)
    if told == of.status:
        return []
    changes: list[Event] = events(ref(of), findings, of.status)
    return [Status(ref(of), told), *changes]


def _stalled(of: Resource[Any], kind: type[Any], trouble: Trouble, now_s: float) -> list[Action]:
    findings = kstatus(False, "", [trouble], False, "")
    conditions = dated(findings, of.status, of.generation, now_s)
    return _write(of, kind(observed_generation=of.generation, conditions=conditions), findings)


def _unserved(view: View, fleet: Fleet) -> Trouble:
    if view.service is None:
        return Trouble(
            "NoService", f"there is no MetadataService {view.name} in this namespace; create it", stalled=True
        )
    if fleet.spec is None:
        return Trouble("UnreadableSpec", f"spec: {fleet.wrong}: upgrade cellwall-crds", stalled=True)
    first = view.fleet.name if view.fleet else "another"
    return Trouble("SeveralFleets", f"{view.name} serves {first}; delete this one or that", stalled=True)


# ---------------------------------------------------------------- cells


def cell_status(view: View, one: CellView, now_s: float) -> tuple[form.MetadataCellStatus, list[Finding]]:
    cell = one.cell
    assert cell is not None
    spec, written = cell.spec, cell.status
    wanted = 0 if spec is None else spec.nodes
    joined = [pod for pod in one.pods if pod.joined]
    troubles = _cell_troubles(view, one, wanted, now_s)
    well = f"{len(joined)} of {wanted} nodes serve" if not one.paused else "paused: renewals are refused"
    open_enough = one.open or one.paused
    settled = len(one.serving) >= wanted and open_enough and one.store_ready
    doing = _cell_doing(view, one, wanted)
    findings = kstatus(settled, doing, troubles, bool(one.serving) and one.store_ready, well)
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
            servers=None if land is None else land.servers_of(one.id),
            groups=None if land is None else land.groups.get(one.id),
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
    return before if abs(one.statistics.records - before) < 0.05 * before else one.statistics.records


def _cell_doing(view: View, one: CellView, wanted: int) -> str:
    if not one.store_ready:
        return "the store is starting"
    if len(one.serving) < wanted:
        return f"{len(one.serving)} of {wanted} nodes have joined"
    if not view.published.let_in:
        return "waits for the whole service to be let in"
    return "servers are about to be let in" if one.id in view.published.resuming else "waits for its re-entry"


def _cell_troubles(view: View, one: CellView, wanted: int, now_s: float) -> list[Trouble]:
    assert one.cell is not None
    out = []
    if one.cell.spec is None:
        out.append(Trouble("UnreadableSpec", f"spec: {one.cell.wrong}: upgrade cellwall-crds", stalled=True))
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
    # Twice as near on the far side of the border: a figure on it would else be written again and again.
    moved = abs(before.percent - (now.percent or 0)) / 100
    grown = abs(before.records - (now.records or 0)) > 0.05 * before.records
    return now if moved >= NEAR_SHARE or grown else before


def _headroom(one: CellView, headroom: form.Headroom, limit_s: float, written: Body) -> Finding:
    share = 1 - (headroom.percent or 0) / 100
    largest = f"the largest membership, {headroom.records} records" + (
        f" of {one.statistics.largest}" if one.statistics is not None else ""
    )
    if one.statistics is None:  # say what was said
        known = next((c for c in written.get("conditions") or () if c.get("type") == form.HEADROOM), {})
        return Finding(
            form.HEADROOM, known.get("status") == "True", known.get("reason", "Unknown"), known.get("message", "")
        )
    took = f"{largest}, took {(headroom.retrieval_millis or 0) / 1000:.2f} of {limit_s:g} s"
    if share < HEADROOM_SHARE:
        return Finding(form.HEADROOM, True, "Enough", took)
    return Finding(form.HEADROOM, False, "Short", f"{took}: add cells or CPU, or make memberships smaller")


# ---------------------------------------------------------------- fleet and service


def fleet_status(view: View, fleet: Fleet, now_s: float) -> tuple[form.StorageFleetStatus, list[Finding]]:
    servers = 0 if view.land is None else len(view.land.servers)
    out, wanted, ready = servers - view.servers_in, view.storage_wanted, view.storage_ready
    versions = [view.hosts[pod.name].map_version for pod in view.storage if pod.ready and pod.name in view.hosts]
    troubles = list(view.troubles)
    troubles += [
        _slow(pod) for pod in view.storage if not pod.ready and (pod.trouble or now_s - pod.created_s > SLOW_START_S)
    ][:1]
    enough = servers > 0 and view.servers_in >= IN_SHARE * servers
    paused = [one.id for one in view.cells if one.paused]
    if view.published.let_in and not enough and not any(t.stalled for t in troubles):
        why = f"paused: {', '.join(paused)}" if paused else "renewals fail or are late"
        troubles.append(Trouble("ServersOut", f"{_rounded(out)} of {servers} servers refuse requests; {why}"))
    doing = (
        f"{ready} of {wanted} storage pods are ready"
        if ready < wanted
        else f"{_rounded(out)} of {servers} servers are out"
    )
    findings = kstatus(ready >= wanted and enough, doing, troubles, enough, f"{servers} servers in {wanted} pods")
    return (
        form.StorageFleetStatus(
            observed_generation=fleet.generation,
            servers=servers,
            servers_out=out,
            pods=wanted,
            pods_ready=ready,
            map_version=min(versions, default=0),
            conditions=dated(findings, fleet.status, fleet.generation, now_s),
        ),
        findings,
    )


def _rounded(servers: int) -> str:
    """In messages: the exact figure is a field, and a message that changes is one event more."""
    return (
        str(servers)
        if servers < 10
        else f"about {round(servers, -1)}"
        if servers < 100
        else f"about {round(servers, -2)}"
    )


def _slow(pod: Pod) -> Trouble:
    why = pod.trouble or f"not ready within {SLOW_START_S:g} s"
    return Trouble("PodNotReady", f"{pod.name}: {why}: kubectl describe pod {pod.name}")


def service_status(
    view: View, service: Service, ready: int, now_s: float
) -> tuple[form.MetadataServiceStatus, list[Finding]]:
    troubles = [*view.troubles, *publish.troubles(view, now_s)]
    if view.fill_trouble and not view.published.let_in:
        job = f"job/{names.fill(view.name)}"
        why = f"filling the stores failed ({view.fill_trouble}): kubectl logs {job}"
        message = f"{why}; once that is mended, kubectl delete {job} and it runs again"
        troubles.append(Trouble("FillFailed", message))
    unready = [one.name for one in view.cells if one.cell is not None and not (one.serving and one.store_ready)]
    if unready and view.published.let_in:
        troubles.append(Trouble("CellNotReady", f"{', '.join(unready)}: see kubectl describe metadatacell"))
    asked = 0 if view.spec is None else view.spec.cells
    settled = view.published.let_in and ready >= asked > 0
    findings = kstatus(
        settled, _service_doing(view, ready, asked), troubles, settled, f"{ready} of {asked} cells are ready"
    )
    published: CellMap | None = view.published.map
    return (
        form.MetadataServiceStatus(
            observed_generation=service.generation,
            cells=sum(one.cell is not None for one in view.cells),
            cells_ready=ready,
            servers=None if view.land is None else len(view.land.servers),
            map_version=max(view.published.version if published else 0, publish.highest(view)),
            paused=False if service.spec is None else service.spec.paused,
            conditions=dated(findings, service.status, service.generation, now_s),
        ),
        findings,
    )


def _service_doing(view: View, ready: int, asked: int) -> str:
    if not all(one.store_ready for one in view.cells):
        return "the stores are starting"
    if not view.filled and not view.published.let_in:
        return "the stores are being filled"
    if not view.published.let_in:
        return (
            f"waits for all nodes to join and for {view.storage_wanted} storage pods ({view.storage_ready} are ready)"
        )
    return f"{ready} of {asked} cells are ready"

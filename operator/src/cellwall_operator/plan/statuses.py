"""What the three resources are told to be: their statuses.

Decides which facts are a trouble, how it is named and what to do about it (a cell's: `cell_status`). A status that is
as it was is not written, and figures in messages are rounded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cellwall import status as form

from .. import names
from ..actions import Action, Event, Status
from ..conditions import Finding, Trouble, dated, events, kstatus, plain
from ..manifests import cellmap
from ..manifests.cellmap import Moving
from ..objects import Fleet, Pod, Resource, Service
from . import publish
from .cell_status import SLOW_START_S, cell_status
from .deeds import ref
from .fleet import IN_SHARE
from .moves import Outcome
from .service import may_go
from .view import View


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
        if not cell.deleting and not may_go(view, cell):
            why = f"{view.name} has no such cell; delete this one" if view.service else f"there is no {view.name}"
            stray = Trouble("NotOfService", why, stalled=True)
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
    findings = kstatus(False, "", False, "", [trouble])
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
        troubles.append(Trouble("ServersOut", f"{_share(out, servers)} servers refuse requests; {why}"))
    doing = (
        f"{ready} of {wanted} storage pods are ready" if ready < wanted else f"{_share(out, servers)} servers are out"
    )
    findings = kstatus(
        ready=enough,
        well=f"{servers} servers in {wanted} pods",
        settled=ready >= wanted and enough,
        doing=doing,
        troubles=troubles,
    )
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


def _share(out: int, servers: int) -> str:
    """In messages: the exact figure is a field, and a message that changes is one event more."""
    step = 1 if out < 10 else 10 if out < 100 else 100
    least = out // step * step
    return (
        f"all {servers}"
        if out >= servers
        else f"{least} of {servers}"
        if step == 1
        else f"{least} or more of {servers}"
    )


def _slow(pod: Pod) -> Trouble:
    why = pod.trouble or f"not ready within {SLOW_START_S:g} s"
    return Trouble("PodNotReady", f"{pod.name}: {why}: kubectl describe pod {pod.name}")


def service_status(
    view: View, service: Service, ready: int, now_s: float
) -> tuple[form.MetadataServiceStatus, list[Finding]]:
    troubles = [*view.troubles, *publish.troubles(view, now_s), *view.refusals()]
    if view.fill_trouble and not view.published.let_in:
        job = f"job/{names.fill(view.name)}"
        why = f"filling the stores failed ({view.fill_trouble}): kubectl logs {job}"
        message = f"{why}; once that is mended, kubectl delete {job} and it runs again"
        troubles.append(Trouble("FillFailed", message))
    unready = [one.name for one in view.cells if one.cell is not None and not (one.serving and one.store_ready)]
    if unready and view.published.let_in:
        troubles.append(Trouble("CellNotReady", f"{', '.join(unready)}: see kubectl describe metadatacell"))
    due, asked = publish.moves_due(view, now_s), len(view.cells)
    if due is not None and due.trouble:
        troubles.append(Trouble("MovePending", f"{due.doing or 'cells'}: {due.trouble}"))
    complete = view.published.let_in and ready >= asked > 0 and not (due is not None and due.doing)
    paused = all(one.paused or one.open for one in view.cells) and any(one.paused for one in view.cells)
    findings = kstatus(
        ready=complete,
        well=f"{ready} of {asked} cells are ready",
        settled=complete or (view.published.let_in and paused),
        doing=_service_doing(view, ready, asked, due),
        troubles=troubles,
        reason="Paused" if paused else "Progressing",
    )
    return (
        form.MetadataServiceStatus(
            observed_generation=service.generation,
            cells=sum(one.cell is not None for one in view.cells),
            cells_ready=ready,
            servers=None if view.land is None else len(view.land.servers),
            map_version=publish.next_version(view, now_s),
            groups=_groups(view, due) if view.published.let_in else None,
            moves=_moves(view, due) if view.published.let_in else None,
            paused=False if service.spec is None else service.spec.paused,
            conditions=dated(findings, service.status, service.generation, now_s),
        ),
        findings,
    )


def _groups(view: View, due: Outcome | None) -> str | None:
    """Who serves which placement group, also if the map should be deleted by hand. Written before the map is: then both
    of a move's cells serve the group."""
    if view.land is None:
        return None
    cell_of = list(view.land.cell_of)
    if due is not None and due.entries and due.moving.move is not None:
        cell_of[due.moving.move.group] = due.moving.move.target
    return " ".join(map(str, cell_of))


def _moves(view: View, due: Outcome | None) -> str | None:
    """What is remembered on the map, likewise."""
    moving = view.published.moving if due is None else due.moving
    return None if moving == Moving() else cellmap.written(moving)


def _service_doing(view: View, ready: int, asked: int, due: Outcome | None) -> str:
    if not all(one.store_ready for one in view.cells):
        return "the stores are starting"
    if not view.filled and not view.published.let_in:
        return "the stores are being filled"
    if not view.published.let_in:
        return (
            f"waits for all nodes to join and for {view.storage_wanted} storage pods ({view.storage_ready} are ready)"
        )
    if due is not None and due.doing and ready >= asked:
        return due.doing
    return f"{ready} of {asked} cells are ready"

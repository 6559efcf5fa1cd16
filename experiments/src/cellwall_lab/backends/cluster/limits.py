"""From a fleet that is in to a world that may be judged: customers come, costs are measured, the limit is set.

Decides the order; the figures are `calibrate`'s and the core's. Invariant: the world's record is written only when
every node's limit is in force and all clocks are close enough for one history.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from cellwall.capacity import TYPICAL, Costs, total_cores
from cellwall.errors import Refused, Unavailable

from ...runfolder import CALIBRATION
from ..live import Live
from ..processes import write_json
from ..world_record import world_record
from . import names, values
from .calibrate import on_healthy_traffic
from .clocks import ASKS, bounds, refuse_apart

if TYPE_CHECKING:
    from .ground import ClusterGround

LOAD_S = 60.0  # guess: from the control's change to the first request on record
POLL_S = 0.2
CALIBRATE_PERIODS = 0.6  # of renewals, whose order is by metadata partition, each with its large and small memberships
FORCE_S = 180.0  # guess: where pods cannot be resized every node is started anew under its limit
CORES_MIN = 0.4  # K8s: below it cells of a quarter are at 0.1 core, where a node is all throttling (issue 5)
DATE_S = 5.0


async def settle(ground: ClusterGround, live: Live) -> None:
    spec = ground.layout.spec
    await _customers(ground, live, spec.load.rps)
    if ground.config.calibration is None and spec.cpu.total_cores is None:
        ground.costs = await _calibrated(ground)
    try:
        total = total_cores(spec, ground.layout.fleet, ground.costs)
    except Refused as error:  # a busy cluster makes requests dear; a limit that is given needs no measurement
        raise Refused(f"{error}; or give the limit: --set cpu.total_cores={CORES_MIN:g}") from None
    if total < CORES_MIN:
        print(
            f"cellwall: warning: {total:.2f} cores are few for a metadata service of pods; below {CORES_MIN:g} expect "
            f"runs that come out unknown: use more servers, or --set cpu.total_cores={CORES_MIN:g}",
            file=sys.stderr,
            flush=True,
        )
    await _limit(ground, total)
    offset_s = await _clocks(ground)
    record = world_record(time.time(), ground.config, ground.layout, ground.costs, total)
    version = await ground.api.get("/version")
    ground.recorder.add(
        msgspec.structs.replace(
            record,
            calibration={**record.calibration, "clock_offset_s": round(offset_s, 3)},
            versions={**record.versions, "kubernetes": str(version.get("gitVersion", "unknown"))},
        )
    )


async def _limit(ground: ClusterGround, total: float) -> None:
    """Give the whole service this limit, and see it in force at every node."""
    path = names.custom(ground.release.namespace, "metadataservices", names.WORLD)
    # The operator's own pace from now on, unless a resume says another.
    await ground.api.patch(path, {"spec": {**values.limits(ground.layout.spec, total)["spec"], "reentry": None}})
    each = values.node_cores(ground.layout.spec, total)
    await asyncio.gather(*(ground.in_force(cell, each, FORCE_S) for cell in ground.cells))


async def _calibrated(ground: ClusterGround) -> Costs:
    """Measured here, and left for the run's other arms."""
    spec = ground.layout.spec
    renewals = {c: {p.name: names.pod(p.name, names.RENEWAL_PORT) for p in ground.joined(c)} for c in ground.cells}
    typical = total_cores(spec, ground.layout.fleet, TYPICAL)
    measured = await on_healthy_traffic(
        ground.layout,
        renewals,
        ground.proxy,
        ground.records,
        spec.renewal.renew_every_s * CALIBRATE_PERIODS,
        lambda: _limit(ground, typical),
    )
    write_json(ground.folder / CALIBRATION, measured)
    return measured.costs


async def _customers(ground: ClusterGround, live: Live, rps: float) -> None:
    """Let them come, and see them come."""
    await ground.control(rps=rps)
    end_s, nudge_s = time.monotonic() + LOAD_S, time.monotonic() + 2.0
    while rps and not live.window(time.time(), 2.0).requests:
        ground.check()
        if time.monotonic() > end_s:
            raise Unavailable(f"load: no request on record within {LOAD_S:g} s; see the logs folder")
        if time.monotonic() > nudge_s:
            await ground.nudge("load")
            nudge_s = time.monotonic() + 3.0
        await asyncio.sleep(POLL_S)


async def _clocks(ground: ClusterGround) -> float:
    """The largest offset of a Kubernetes node's clock, by one pod of ours on each; refused if records of both could not
    stand in one history."""
    asked = {pod.kube_node: names.pod(pod.name, names.STORAGE_PORT) for pod in ground.pods.of("storage")}
    asked |= {p.kube_node: names.pod(p.name, names.ADMIN_PORT) for c in ground.cells for p in ground.joined(c)}
    largest_s = 0.0
    for kube_node, address in sorted(asked.items()):
        told = []
        for number in range(ASKS):
            told.append(await ground.proxy.clock(address, DATE_S))
            await asyncio.sleep((1.0 + number / ASKS - time.time() % 1.0) % 1.0)  # the next twelfth of a second
        found = bounds(told)
        refuse_apart(kube_node, found)
        largest_s = max(largest_s, found.middle_s, key=abs)
    return largest_s

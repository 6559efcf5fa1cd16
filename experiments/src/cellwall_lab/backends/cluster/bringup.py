"""Bringing a world up on a cluster: what must be there, a namespace of its own, the chart, and the wait for Ready.

Decides the order and the deadlines; says on stderr what is waited for, and refuses what no waiting cures. Invariant:
what it has made is removed if it fails or is stopped.
"""

from __future__ import annotations

import asyncio
import sys
import time
from random import Random

from cellwall.capacity import TYPICAL, total_cores
from cellwall.errors import Unavailable, Unknown
from cellwall.placement import cell_id, make_layout

from ..calibrate import costs_of
from ..config import ArmConfig
from ..pacing import ENTRY_CORES, reentry_over_s
from ..running import unless_stopped
from . import checks, names, release
from .api import Api
from .ground import ClusterGround
from .readiness import Observed, counted, hopeless, missing
from .values import values

UP_S = 600.0  # issue 5: a fleet of 48 pods is healthy within 3 minutes; three times that on a busy machine
POLL_S = 1.0
HOPELESS_S = 10.0  # guess: how long what no waiting cures must last; the operator looks again within seconds
TELL_EVERY_S = 10.0


async def bring_up(config: ArmConfig, stopped: asyncio.Event) -> ClusterGround | None:
    """A world whose fleet is in; None if ``stopped`` came first. Ends what it started if it fails."""
    spec = config.spec
    layout = make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))
    api = await Api.connect(config.context)
    try:
        await checks.refuse_unfit(api)
        here = await checks.is_here(api)
    except BaseException:
        await api.close()
        raise
    ground = ClusterGround(config, layout, api, release.Release(api, config), stopped, here)
    try:
        if await unless_stopped(_build(ground), stopped):
            return ground
    except BaseException:
        await ground.end()
        raise
    await ground.end()
    return None


async def _build(ground: ClusterGround) -> None:
    spec, config = ground.layout.spec, ground.config
    ground.costs = TYPICAL if config.calibration is None else costs_of(config.calibration)
    # Refused now, not when the fleet is in; where it is to be calibrated the typical costs do not refuse for it.
    if config.calibration is not None or spec.cpu.total_cores is not None:
        total_cores(spec, ground.layout.fleet, ground.costs)
    for left in await release.sweep(ground.api):
        _tell(f"removing namespace {left}, left behind by a run that was killed")
    cells = [cell_id(cell) for cell in range(spec.cells)]
    over_s = max(reentry_over_s(ground.layout, cell, ground.costs, ENTRY_CORES / spec.cells) for cell in cells)
    _tell(f"installing the world in namespace {ground.release.namespace} of context {config.context}")
    await ground.release.install(values(spec, over_s))
    if config.force:
        path = names.custom(ground.release.namespace, "metadataservices", names.WORLD)
        await ground.api.patch(path, {"metadata": {"annotations": {names.FORCE: "true"}}})
    await _await_up(ground)
    await ground.read_map()


async def _await_up(ground: ClusterGround) -> None:
    end_s, told_s, told = time.monotonic() + UP_S, 0.0, ""
    hope_s = time.monotonic()
    while True:
        try:
            seen = await _observe(ground)
        except (Unavailable, Unknown) as error:  # an API server on a busy machine; the deadline below is the limit
            if time.monotonic() > end_s:
                raise
            _tell(str(error))
            await asyncio.sleep(POLL_S)
            continue
        if (reason := hopeless(seen)) is None:
            hope_s = time.monotonic()
        elif time.monotonic() - hope_s > HOPELESS_S:
            raise reason
        waits = missing(seen)
        if not waits:
            return
        text = f"waiting for {'; '.join(waits)} ({counted(seen.pods)})"
        now_s = time.monotonic()
        if now_s > end_s:
            raise Unavailable(f"not up within {UP_S:g} s: {text}; see the logs folder")
        if text != told and now_s - told_s > TELL_EVERY_S:
            _tell(text)
            told, told_s = text, now_s
        await asyncio.sleep(POLL_S)


async def _observe(ground: ClusterGround) -> Observed:
    ns = ground.release.namespace
    service, fleet, cells = await asyncio.gather(
        ground.api.find(names.custom(ns, "metadataservices", names.WORLD)),
        ground.api.find(names.custom(ns, "storagefleets", names.WORLD)),
        ground.api.get(names.custom(ns, "metadatacells")),
    )
    return Observed(service=service, fleet=fleet, cells=cells["items"], pods=ground.pods.now)


def _tell(text: str) -> None:
    print(f"cellwall: {text}", file=sys.stderr, flush=True)

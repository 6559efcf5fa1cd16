"""The ground of a world on a cluster: its custom resources, its pods and what they say.

Decides how each step is carried out on Kubernetes: by a change of a custom resource that the operator acts on, and read
back from what came of it. Never talks to an overloaded node where the step must work without it. Invariant: a step is
"done" only when the cluster shows it (endpoints gone, limit in force, node joined), not when it was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cellwall import history
from cellwall.arrivals import Control
from cellwall.capacity import Costs
from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.model import CellMap
from cellwall.placement import Layout, cell_id
from cellwall.resources import cores, millicores
from cellwall.spec import Mode

from ...verbs import Kill, StepResult
from ..config import ArmConfig
from ..ground import Asks, Ground, Struck
from ..live import Live
from ..machine import sample_host
from ..pacing import reentry_over_s
from ..recorder import Recorder
from . import failures, names
from .api import Api, Object
from .attempts import attempt
from .door import Door
from .follow import Followers
from .limits import settle
from .pods import Pod, Pods
from .proxy import Proxy
from .release import Release

POLL_S = 0.2
STEP_S = 30.0  # guess: what the operator does within a second takes a busy cluster several
START_S = 90.0  # guess: a node's pod scheduled, its imports done with the startup allowance
RECORDS_S = 20.0  # until pods that were told to end have said their last: their grace is 10 s
NUDGE_EVERY_S = 3.0  # guess: where the kubelet saw the nudge before the change, another one shows it
LIMITS_FILE = "limits.ndjson"


class ClusterGround(Ground):
    """One run's namespace and everything in it."""

    def __init__(
        self, config: ArmConfig, layout: Layout, api: Api, release: Release, stopped: asyncio.Event, here: bool
    ) -> None:
        """``here``: the cluster's machines are this one (kind), so its CPU steal is theirs."""
        self.api, self.release, self.stopped, self._here = api, release, stopped, here
        self.proxy = Proxy(api, release.namespace)
        folder = Path(config.out)
        for name in ("configs", "records", "logs"):
            (folder / name).mkdir(exist_ok=True)
        super().__init__(config, layout, Recorder(folder / "records"), self.proxy)
        self.pods = Pods(api, release.namespace)
        self.followers = Followers(api, release.namespace, self.records, folder / "logs")
        self.pods.on_change(self.followers.see)
        self.map = CellMap(0, {}, {})
        self.costs = Costs(0.0, 0.0)
        self._door = Door(api.context, release.namespace)
        self._watching = asyncio.create_task(self.pods.run())
        self._limits = Recorder(self.records, LIMITS_FILE)
        self._limited = False
        self._over_s: dict[str, float] = {}
        self._nudges = 0

    # ------------------------------------------------------------ what is there

    @property
    def cells(self) -> Collection[str]:
        return [cell_id(cell) for cell in range(self.layout.spec.cells)]

    @property
    def frontend(self) -> str:
        return names.service(f"{names.WORLD}-frontend", names.FRONTEND_PORT)

    def joined(self, cell: str) -> list[Pod]:
        return [pod for pod in self.pods.of("node", cell) if pod.joined and pod.serves]

    def nodes(self, cell: str) -> int:
        return len(self.joined(cell))

    def admins(self, cell: str) -> list[str]:
        found = [names.pod(pod.name, names.ADMIN_PORT) for pod in self.joined(cell)]
        return found or [names.service(names.admin_service(cell), names.ADMIN_PORT)]

    def limit_cores(self, cell: str) -> float:
        return sum(pod.limit_cores for pod in self.joined(cell))

    def host(self, server: str) -> str | None:
        entry = self.map.servers.get(server)
        return None if entry is None else names.host_of(entry.address)

    def hosts(self, servers: Sequence[str]) -> list[str]:
        return sorted({host for server in servers if (host := self.host(server)) is not None})

    def check(self) -> None:
        self.pods.check()

    def watches(self, live: Live) -> list[Coroutine[Any, Any, None]]:
        return [self._record_limits(live), *([sample_host(self.recorder)] if self._here else [])]

    async def _record_limits(self, live: Live) -> None:
        """Each node's limit, as the kubelet tells it, beside the CPU that the node says it spent."""
        last_s: dict[str, float] = {}
        while True:
            for sample in live.node_samples() if self._limited else ():
                pod = self.pods.now.get(sample.node)
                if pod is not None and pod.limit_cores and sample.t > last_s.get(sample.node, 0.0):
                    last_s[sample.node] = sample.t
                    self._limits.add(
                        history.CpuLimit(
                            t=sample.t, node=sample.node, limit_cores=pod.limit_cores, cpu_s=round(sample.cpu_s, 6)
                        )
                    )
            await asyncio.sleep(POLL_S)

    # ------------------------------------------------------------ load and limits

    async def set_limits(self, live: Live) -> None:
        await settle(self, live)
        self._limited = True
        self.pods.must_stay()

    async def control(self, *, rps: float, stop: bool = False, audit: bool = True) -> None:
        if stop:
            self.pods.spare("load")
        data = {names.LOAD_CONTROL_KEY: msgspec.json.encode(Control(rps=rps, stop=stop, audit=audit)).decode()}
        await self.api.patch(names.core(self.release.namespace, "configmaps", names.LOAD_CONTROL), {"data": data})
        await self.nudge("load")

    async def nudge(self, component: str) -> None:
        """Let the kubelets look at these pods' mounted files now instead of within a minute."""
        self._nudges += 1
        annotations = {"metadata": {"annotations": {names.NUDGE: str(self._nudges)}}}
        for pod in self.pods.of(component):
            with contextlib.suppress(CellwallError):  # no more than haste: whoever waits for its effect asks again
                await self.api.patch(names.core(self.release.namespace, "pods", pod.name), annotations)

    async def load_ended(self, within_s: float) -> str:
        end_s = time.monotonic() + within_s
        nudge_s = time.monotonic() + NUDGE_EVERY_S
        while (load := next(iter(self.pods.of("load")), None)) is not None and load.exit_status is None:
            if time.monotonic() > end_s:
                return f"did not end; see logs/{load.name}.log"
            if time.monotonic() > nudge_s:
                await self.nudge("load")
                nudge_s = time.monotonic() + NUDGE_EVERY_S
            await asyncio.sleep(POLL_S)
        if load is None:
            return "is gone"
        if not await self.followers.finish(RECORDS_S, load.uid):
            return f"ended, but its records did not come within {RECORDS_S:g} s"
        return f"ended with status {load.exit_status}; see logs/{load.name}.log" if load.exit_status else ""

    async def door(self) -> tuple[str, Asks]:
        return await self._door.open()

    async def multiply_limit(self, cell: str, factor: float) -> None:
        found = await self.api.get(self._path(cell))
        wanted = millicores(cores(found["spec"]["cpuPerNode"]) * factor)
        await self._patch_cell(cell, {"cpuPerNode": wanted})
        await self.in_force(cell, cores(wanted))

    async def in_force(self, cell: str, node_cores: float, within_s: float = STEP_S) -> None:
        """Wait until the kubelets say that every node of the cell has this limit."""

        async def told() -> bool:
            nodes = self.joined(cell)
            return bool(nodes) and all(abs(pod.limit_cores - node_cores) < 0.0005 for pod in nodes)

        seen = {pod.name: pod.limit_cores for pod in self.joined(cell)}
        await _until(told, within_s, f"{cell}: the limit {node_cores:g} is not in force; pods have {seen}")

    # ------------------------------------------------------------ nodes

    async def add_node(self, cell: str, deadline_s: float) -> StepResult:
        """Each administrative request of it has the operator's own deadline of two time limits."""
        within_s = START_S + deadline_s * self.layout.spec.metadata.partitions
        return await attempt(self.api, self._path(cell), within_s)

    # ------------------------------------------------------------ pause and resume

    async def pause(self, cell: str) -> None:
        self.paused.add(cell)
        await self._patch_cell(cell, {"paused": True})

        async def closed() -> bool:
            return await self._endpoints(cell) == 0

        await _until(closed, STEP_S, f"{cell}: its renewal Service has endpoints still; is the operator running?")

    async def resume(self, cell: str, over_s: float | None) -> str:
        if over_s is None:
            over_s = reentry_over_s(self.layout, cell, self.costs, self.limit_cores(cell))
        # One pace for all cells of a service: the longest of those that are resumed together.
        self._over_s[cell] = over_s
        over_s = max(self._over_s.values())
        path = names.custom(self.release.namespace, "metadataservices", names.WORLD)
        await self.api.patch(path, {"spec": {"reentry": {"overSeconds": round(over_s, 1)}}})
        await self._patch_cell(cell, {"paused": False})

        async def opened() -> bool:
            return await self._endpoints(cell) > 0

        try:
            await _until(opened, STEP_S, f"{cell}: its renewal Service has no endpoints; is the operator running?")
        finally:
            del self._over_s[cell]
        self.paused.discard(cell)
        return f"waves over {over_s:.1f} s"

    async def _endpoints(self, cell: str) -> int:
        selector = f"kubernetes.io/service-name={names.renewal_service(cell)}"
        slices = await self.api.get(names.endpoint_slices(self.release.namespace), labelSelector=selector)
        return sum(
            len(endpoint["addresses"])
            for one in slices["items"]
            for endpoint in one.get("endpoints") or ()
            if endpoint.get("conditions", {}).get("ready", True)
        )

    # ------------------------------------------------------------ what can fail

    def carried_by(self, host: str) -> list[str]:
        return failures.carried_by(self, host)

    async def kill(self, verb: Kill) -> Struck:
        return await failures.kill(self, verb)

    async def lose_node(self, node: str, for_s: float) -> Struck:
        return await failures.lose_node(self, node, for_s)

    async def roll(self, cell: str, mode: Mode) -> Struck:
        raise Refused("release: a MetadataCell has no release of its own; it must be --backend local")

    # ------------------------------------------------------------ inside

    def _path(self, cell: str) -> str:
        return names.custom(self.release.namespace, "metadatacells", names.cell(cell))

    async def _patch_cell(self, cell: str, spec: Object) -> None:
        await self.api.patch(self._path(cell), {"spec": spec})

    async def read_map(self) -> None:
        """The published map: where each server lives."""
        found = await self.api.get(names.core(self.release.namespace, "configmaps", names.MAP))
        try:
            self.map = msgspec.json.decode(found["data"][names.MAP_KEY], type=CellMap)
        except (KeyError, msgspec.DecodeError) as error:
            raise Unavailable(f"ConfigMap {names.MAP}: not a cell map ({error})") from None

    async def end(self) -> None:
        await self._door.close()
        await self.release.begin_end()
        await self.followers.finish(RECORDS_S)
        await self.followers.close()
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        self._limits.close()
        await self.release.close()
        await self.api.close()


async def _until(holds: Callable[[], Awaitable[bool]], within_s: float, otherwise: str) -> None:
    """Look until it holds. A look that fails is one more look: the API server of a busy machine takes its time."""
    end_s = time.monotonic() + within_s
    while True:
        with contextlib.suppress(Unavailable, Unknown):
            if await holds():
                return
        if time.monotonic() > end_s:
            raise Unknown(otherwise)
        await asyncio.sleep(POLL_S)

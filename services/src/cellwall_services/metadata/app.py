"""A metadata node's two doors: renewals, and administration.

Decides how a request becomes a job and an outcome becomes a status; does no work itself. Administration
takes its turns in the same admission as renewals unless the policy gives it a lane of its own: that
is how operators get locked out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence

import msgspec
from aiohttp import web

from cellwall import history
from cellwall.errors import CellwallError, Refused, Unavailable
from cellwall.spec import MetadataPolicy

from ..config import NodeConfig
from ..records import Recorder
from ..wire import Join, MembershipStatistics, TableChange
from . import store as keys
from .changes import TableJob
from .engine import Engine
from .handover import Handover
from .jobs import Conflict, MapJob, MembershipJob, NotFound
from .joining import take_over
from .metrics import Metrics
from .release import Crash
from .store import Store

UNFILLED_POLL_S = 0.1
SLICES_POLL_S = 0.5  # guess: sooner than a map that names the cell for a group that has come reaches anybody

log = logging.getLogger(__name__)


class Weight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    percent: float


class Node:
    """One node: its engine, its statistics, and the handlers of both doors."""

    def __init__(self, config: NodeConfig, engine: Engine, store: Store) -> None:
        self._config = config
        self._policy: MetadataPolicy = config.policy
        self._engine = engine
        self._store = store  # a connection of its own, for what needs no turn
        self._slice: dict[str, int] = {}  # server -> metadata partition
        self._statistics: dict[str, MembershipStatistics] = {}
        self._metrics = Metrics(engine, config.policy.partitions)
        self._slices_version: bytes | None = None
        self._crash = Crash(config.release.crash_on)
        policy = config.policy
        self._handover = Handover(
            config.cell, engine, policy.page_records, policy.partitions, self._partition_of, self._answer
        )

    async def load_slices(self) -> None:
        """Learn which server is in which metadata partition, once the store is filled (its version is written last)."""
        # Of an added cell nobody fills the store.
        wanted = [keys.FIRST_VERSION, keys.READ_VERSION] if self._config.begins_empty else [keys.READ_VERSION]
        said = ""
        while True:
            try:
                if (await self._store.execute(wanted))[-1] is not None:
                    break
            except Unavailable as error:  # pods start in any order; ending here would cost the next start a back-off
                if str(error) != said:
                    said = str(error)
                    log.warning("waiting: %s", said)
            await asyncio.sleep(UNFILLED_POLL_S)
        await self._read_slices()

    async def follow_slices(self) -> None:
        """Groups come and go, and another node of the cell may have taken the step."""
        while True:
            await asyncio.sleep(SLICES_POLL_S)
            try:
                if (await self._store.execute([keys.READ_SLICES]))[0] != self._slices_version:
                    await self._read_slices()
            except Unavailable as error:
                log.warning("slices not read: %s", error)

    async def _read_slices(self) -> None:
        partitions = range(self._policy.partitions)
        version, *answers = await self._store.execute([keys.READ_SLICES, *map(keys.read_slice, partitions)])
        self._slice = {name.decode(): p for p, names in zip(partitions, answers, strict=True) for name in names}
        self._slices_version = version

    def renewal_app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/membership/{server}", self._membership)
        app.router.add_post("/confirm/{server}", self._confirm)
        return app

    def admin_app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/map/{partition}", self._map)
        app.router.add_get("/version", self._version)
        app.router.add_get("/confirmed", self._confirmed)
        app.router.add_post("/tables", self._tables)
        app.router.add_get("/weight/{partition}", self._get_weight)
        app.router.add_put("/weight/{partition}", self._put_weight)
        app.router.add_post("/join", self._join)
        app.router.add_get("/statistics", self._get_statistics)
        app.router.add_get("/metrics", self._show_metrics)
        app.add_routes(self._handover.routes())
        return app

    def sample(self) -> history.NodeSample:
        engine = self._engine
        return history.NodeSample(
            t=time.time(),
            cell=self._config.cell,
            node=self._config.node,
            cpu_s=time.process_time(),
            in_service=engine.admission.in_service,
            waiting=engine.admission.waiting,
            oldest_s=round(engine.oldest_s(), 4),
            answered=engine.answered,
            abandoned=engine.abandoned,
            records=engine.records,
        )

    # ------------------------------------------------------------ renewals

    async def _membership(self, request: web.Request) -> web.Response:
        server = request.match_info["server"]
        self._crash.renewal(server)
        started_s = time.monotonic()
        behind = self._config.release.epochs_behind
        job = MembershipJob(self._config.cell, server, self._policy.page_records, behind)
        response = await self._answer("membership", self._engine.do(job, self._slice.get(server, 0)))
        if response.status == 200:
            took_s = time.monotonic() - started_s
            self._statistics[server] = MembershipStatistics(job.count, len(job.body), took_s, time.time())
            self._metrics.membership(job.count, len(job.body))
        return response

    async def _confirm(self, request: web.Request) -> web.Response:
        server, epoch = request.match_info["server"], request.query.get("epoch", "")
        if not epoch.isdecimal():
            return _error(400, f"epoch: {epoch!r} is not a number")
        try:
            (known,) = await self._store.execute([keys.write_confirmed(server, int(epoch))])
        except Unavailable as error:
            return _error(503, str(error))
        if not known:
            return _error(404, f"no server {server} in {self._config.cell}")
        if known != 1:
            return _error(409, f"{server} is on the move to another cell, or from one: confirm again")
        return _closing(web.Response(status=204))

    # ------------------------------------------------------------ administration

    async def _map(self, request: web.Request) -> web.Response:
        partition = self._partition(request)
        job = MapJob(self._config.cell, partition, self._policy.page_records)
        return await self._answer("map", self._engine.do(job, partition, admin=True))

    async def _tables(self, request: web.Request) -> web.Response:
        try:
            change = msgspec.json.decode(await request.read(), type=TableChange)
        except msgspec.DecodeError as error:
            return _error(400, f"table change: {error}")
        partition = self._partition_of(list(change.assignments))
        job = TableJob(self._config.cell, change)
        return await self._answer("tables", self._engine.do(job, partition, admin=True))

    async def _version(self, _: web.Request) -> web.Response:
        try:
            version = (await self._store.execute([keys.READ_VERSION]))[0]
        except Unavailable as error:
            return _error(503, str(error))
        return web.json_response({"version": int(version or 0)})

    async def _confirmed(self, request: web.Request) -> web.Response:
        servers = [name for name in request.query.get("servers", "").split(",") if name]
        try:
            heads = await self._store.execute([keys.read_head(server) for server in servers])
        except Unavailable as error:
            return _error(503, str(error))
        return web.json_response({s: int(head[1] or 0) for s, head in zip(servers, heads, strict=True)})

    async def _get_weight(self, request: web.Request) -> web.Response:
        return web.json_response({"percent": self._engine.admission.weight(self._partition(request))})

    async def _put_weight(self, request: web.Request) -> web.Response:
        try:
            weight = msgspec.json.decode(await request.read(), type=Weight)
        except msgspec.DecodeError as error:
            return _error(400, f"weight: {error}")
        if not 0 <= weight.percent <= 100:
            return _error(400, f"percent: {weight.percent!r} is not allowed; it must be in 0..100")
        self._engine.admission.set_weight(self._partition(request), weight.percent)
        return await self._get_weight(request)

    async def _join(self, request: web.Request) -> web.Response:
        try:
            join = msgspec.json.decode(await request.read(), type=Join)
        except msgspec.DecodeError as error:
            return _error(400, f"join: {error}")
        return web.Response(body=msgspec.json.encode(await take_over(join)), content_type="application/json")

    async def _get_statistics(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._statistics), content_type="application/json")

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.page(), content_type="text/plain", charset="utf-8")

    # ------------------------------------------------------------ inside

    async def _answer(self, kind: str, work: Awaitable[bytes]) -> web.Response:
        asked_s = time.monotonic()
        try:
            response = _closing(web.Response(body=await work, content_type="application/json"))
        except NotFound as error:
            response = _error(404, str(error))
        except Conflict as error:
            response = _error(409, str(error))
        except Refused as error:
            response = _error(400, str(error))
        except CellwallError as error:
            response = _error(503, str(error))
        self._metrics.answered(kind, response.status, time.monotonic() - asked_s)
        return response

    def _partition_of(self, servers: Sequence[str]) -> int:
        """The metadata partition in whose slots an administrative request about servers waits."""
        return min((self._slice.get(server, 0) for server in servers), default=0)

    def _partition(self, request: web.Request) -> int:
        text = request.match_info["partition"]
        if not text.isdecimal() or int(text) >= self._policy.partitions:
            text = f"no metadata partition {text!r}; there are 0..{self._policy.partitions - 1}"
            raise web.HTTPNotFound(text=msgspec.json.encode({"error": text}).decode(), content_type="application/json")
        return int(text)


def _error(status: int, text: str) -> web.Response:
    return _closing(web.json_response({"error": text}, status=status))


def _closing(response: web.Response) -> web.Response:
    """One connection per renewal: a pause must leave no pooled one alive. (A header alone leaves it to the caller.)"""
    response.force_close()
    return response


async def sample_node(node: Node, recorder: Recorder, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        recorder.add(node.sample())

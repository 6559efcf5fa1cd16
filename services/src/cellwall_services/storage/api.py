"""The storage host's door: replica requests, faults, traces (paths and bodies: `wire`).

Decides whether a request is let in, and turns outcomes into statuses; never changes an agent's state.
Invariants: a server that is cut answers nobody (the connection is aborted), one that is out of service
answers no customer's request, and both are found out here and nowhere else.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from cellwall.errors import Refused

from ..wire import Cut, CutState, Export, Get, Put, Range, Refusal
from .agents import Agents
from .engine import Declined
from .gate import Gate
from .mapfile import MapFile
from .metrics import Metrics
from .server import Server

BODY_MAX_BYTES = 4 << 20  # an item has at most 400 KB (the protocol's limit), an export names 100 partitions; guess

Handler = Callable[[web.Request], Awaitable[web.Response]]

_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_puts = msgspec.msgpack.Decoder(Put)
_gets = msgspec.msgpack.Decoder(Get)
_ranges = msgspec.msgpack.Decoder(Range)
_exports = msgspec.msgpack.Decoder(Export)
_cuts = msgspec.json.Decoder(Cut)


class Api:
    def __init__(
        self, agents: Agents, gate: Gate, map_file: MapFile, metrics: Metrics, now_s: Callable[[], float]
    ) -> None:
        self._agents = agents
        self._gate = gate
        self._map_file = map_file
        self._metrics = metrics
        self._now_s = now_s

    def app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.add_routes(
            [
                web.post("/replica/{server}/put", self._replica("put", self._put)),
                web.post("/replica/{server}/get", self._replica("get", self._get)),
                web.post("/replica/{server}/range", self._replica("range", self._range)),
                web.post("/replica/{server}/export", self._replica("export", self._export)),
                web.get("/servers", self._servers),
                web.get("/servers/{server}/trace", self._trace),
                web.get("/map-version", self._map_version),
                web.put("/faults/cut", refusing(self._cut)),
                web.get("/faults", self._faults),
                web.delete("/faults/{id}", refusing(self._uncut)),
                web.get("/metrics", self._page),
            ]
        )
        return app

    # ------------------------------------------------------------ replicas

    def _replica(self, op: str, act: Callable[[Server, bytes], bytes]) -> Handler:
        """One replica request: cut? known? in service? then ``act``, synchronously: nothing comes in between."""

        async def handle(request: web.Request) -> web.Response:
            server_id = request.match_info["server"]
            if self._gate.refuses(server_id):
                self._metrics.replica(op, "cut")
                return abort(request)
            body = await request.read()
            if self._gate.refuses(server_id):  # the cut came while the body did
                return abort(request)
            try:
                server = self._agents.servers.get(server_id)
                if server is None:
                    raise Declined("no-such-server")
                if op != "export" and not server.agent.available:
                    raise Declined("disqualified")
                answer = act(server, body)
            except Declined as declined:
                self._metrics.replica(op, declined.reason)
                return web.Response(status=503, body=_encode(Refusal(declined.reason, declined.partitions)))
            except (msgspec.DecodeError, Refused) as error:
                self._metrics.replica(op, "malformed")
                return web.Response(status=400, text=f"{op}: {error}")
            self._metrics.replica(op, "done")
            return web.Response(body=answer)

        return handle

    @staticmethod
    def _put(server: Server, body: bytes) -> bytes:
        return _encode(server.store.put(_puts.decode(body)))

    @staticmethod
    def _get(server: Server, body: bytes) -> bytes:
        return _encode(server.store.get(_gets.decode(body)))

    @staticmethod
    def _range(server: Server, body: bytes) -> bytes:
        return _encode(server.store.range(_ranges.decode(body)))

    @staticmethod
    def _export(server: Server, body: bytes) -> bytes:
        return _encode(server.store.export(_exports.decode(body).partitions))

    # ------------------------------------------------------------ what is known

    async def _servers(self, request: web.Request) -> web.Response:
        return answer_json({server.id: self._agents.state(server) for server in self._agents.servers.values()})

    async def _trace(self, request: web.Request) -> web.Response:
        server = self._agents.servers.get(request.match_info["server"])
        if server is None:
            return web.Response(status=404, text=f"no server {request.match_info['server']!r} here")
        return answer_json(list(server.trace))

    async def _map_version(self, request: web.Request) -> web.Response:
        return answer_json({"version": self._map_file.version})

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.page(), content_type="text/plain", charset="utf-8")

    # ------------------------------------------------------------ faults

    async def _cut(self, request: web.Request) -> web.Response:
        cut = _cuts.decode(await request.read())
        state, lost = self._gate.on(cut, self._now_s())
        if state.active:
            # By the loop's own timer: it ends whoever asked for it is alive or not.
            asyncio.get_running_loop().call_later(state.off_s - self._now_s(), self._expire, cut.id)
        self._agents.link_lost(lost)
        return answer_json(state)

    async def _uncut(self, request: web.Request) -> web.Response:
        return answer_json(self._gate.off(request.match_info["id"], self._now_s()))

    async def _faults(self, request: web.Request) -> web.Response:
        states: list[CutState] = self._gate.active()
        return answer_json(states)

    def _expire(self, cut_id: str) -> None:
        self._gate.off(cut_id, self._now_s())


def refusing(handler: Handler) -> Handler:
    """Bad input to a fault is a 400 that says what would be right."""

    @functools.wraps(handler)
    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except (msgspec.DecodeError, Refused) as error:
            return web.Response(status=400, text=str(error))

    return handle


def abort(request: web.Request) -> web.Response:
    """As an unreachable server: no answer. What is returned meets a closed transport."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def answer_json(value: object) -> web.Response:
    return web.Response(body=_json(value), content_type="application/json")

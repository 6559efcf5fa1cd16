"""HTTP in, HTTP out: the DynamoDB JSON protocol's envelope, and the border where errors are translated.

Decides statuses, headers and error bodies; never what an operation does. Nothing but an `ApiError`
leaves here (I9): an unexpected exception is logged with its request id and answered as unknown.
"""

from __future__ import annotations

import itertools
import logging
import time
import zlib
from typing import Any

import msgspec
from aiohttp import web

from cellwall.errors import Refused, Unavailable

from . import protocol
from .errors import ApiError, InternalServerError, ServiceUnavailableError, UnknownOperationError, ValidationError
from .maps import MapLoader
from .metrics import Metrics
from .operations import Operations
from .workflows import Workflows

CONTENT_TYPE = "application/x-amz-json-1.0"
BODY_BYTES_MAX = 16 * 1024 * 1024  # API reference, BatchWriteItem

log = logging.getLogger(__name__)


class Door:
    """The customers' door, and the three pages for operators."""

    def __init__(self, operations: Operations, workflows: Workflows, loader: MapLoader, metrics: Metrics) -> None:
        self._operations = operations
        self._workflows = workflows
        self._loader = loader
        self._metrics = metrics
        self._numbers = itertools.count(1)
        self._started_ms = time.time_ns() // 1_000_000

    def application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/workflows", self._show_workflows)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _ready(self, request: web.Request) -> web.Response:
        if self._loader.loaded.is_set():
            return web.json_response({"ready": True})
        return web.json_response({"ready": False, "reason": "the partition map is not loaded yet"}, status=503)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _show_workflows(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._workflows.unfinished()), content_type="application/json")

    async def _handle(self, request: web.Request) -> web.Response:
        began_s = time.perf_counter()
        request_id = f"{self._started_ms:x}-{next(self._numbers):08x}"
        operation, outcome, status = "none", "done", 200
        body: Any
        try:
            if request.method != "POST" or request.path != "/":
                raise UnknownOperationError(f"{request.method} {request.path[:100]}: only POST / is served")
            operation = protocol.operation_name(request.headers)
            body = await self._answer(operation, request)
        except Exception as error:
            known = _translate(error, request_id)
            body, outcome, status = known.body(), known.outcome, known.status
        self._metrics.requests.labels(operation, outcome).inc()
        self._metrics.seconds.labels(operation).observe(time.perf_counter() - began_s)
        data = msgspec.json.encode(body)
        headers = {
            "Content-Type": CONTENT_TYPE,
            "x-amzn-RequestId": request_id,
            "x-amz-crc32": str(zlib.crc32(data)),
        }
        return web.Response(status=status, body=data, headers=headers)

    async def _answer(self, name: str, request: web.Request) -> dict[str, Any]:
        customer = protocol.customer(request.headers)
        operation = protocol.parse(name, await request.read())
        if not self._loader.loaded.is_set():
            raise ServiceUnavailableError("the partition map is not loaded yet")
        return await self._operations.run(customer, operation)


def _translate(error: Exception, request_id: str) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ValidationError(f"the request body is larger than {BODY_BYTES_MAX} bytes")
    if isinstance(error, Refused):
        return ValidationError(str(error))
    if isinstance(error, Unavailable):
        return ServiceUnavailableError(str(error))
    log.error("request %s", request_id, exc_info=error)
    return InternalServerError(f"unexpected error; request {request_id}")

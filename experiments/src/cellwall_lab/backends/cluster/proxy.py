"""Calls to pods through the API server's proxy, so that they work from anywhere that the API server can be reached.

Decides what a proxied answer means: whose status it is, the service's or the proxy's. The API server takes the header
Authorization off, so customers cannot be spoken for here. Addresses are `names.pod` or `names.service`.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from cellwall.errors import Refused, Unavailable, Unknown

from . import names
from .api import Answer, Api

BINARY = "application/octet-stream"


class Proxy:
    """A client of the services of one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes,
        timeout_s: float,
        *,
        decode: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One request with one deadline, with the outcomes of a direct one."""
        answer = await self._send(method, url, body, timeout_s, headers)
        if answer.status >= 400:
            text = f"{method} {url}: {answer.status} {answer.said}"
            if answer.status in (502, 503, 504) and answer.from_server:
                # The proxy could not reach the service, or lost it: before or after the request, nobody knows of a 502.
                raise Unavailable(text) if answer.status == 503 else Unknown(text)
            raise Refused(text)
        return msgspec.json.decode(answer.body) if decode and answer.body else answer.body

    async def clock(self, address: str, timeout_s: float) -> tuple[float, float, float]:
        """When a service was asked, its own time (whole seconds), when it had answered. Any answer tells it."""
        asked_s = time.time()
        answer = await self._send("GET", f"{address}/", b"", timeout_s, None)
        answered_s = time.time()
        told = answer.headers.get("Date")
        if told is None:
            raise Unavailable(f"GET {address}/: the answer has no date")
        return asked_s, email.utils.parsedate_to_datetime(told).timestamp(), answered_s

    async def _send(
        self, method: str, url: str, body: bytes, timeout_s: float, headers: Mapping[str, str] | None
    ) -> Answer:
        target, _, path = url.partition("/")[2].partition("/")
        kind = url.partition("/")[0]
        proxied = f"{names.core(self._namespace, kind, target)}/proxy/{path}"
        try:
            return await self._api.request(
                method, proxied, body=body or None, kind=BINARY, timeout_s=timeout_s, headers=headers
            )
        except Unknown:
            raise Unknown(f"time-out: {method} {path} after {timeout_s:g} s") from None

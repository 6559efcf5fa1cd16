"""The customers' door of a world on a cluster, on a port of this machine: a `kubectl port-forward`, kept while needed.

The API server's proxy takes the header Authorization off, which names the customer, so that one will not do here.
Decides nothing. Invariant: the forwarding dies with the world server.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from typing import IO

from cellwall.errors import Refused, Unavailable

from ... import children
from ..http_calls import Calls
from . import names

OPEN_S = 15.0  # guess
_PORT = re.compile(rb"127\.0\.0\.1:(\d+)")


class Door:
    """At most one forwarding, begun when first asked for."""

    def __init__(self, context: str, namespace: str) -> None:
        self._context, self._namespace = context, namespace
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._calls: Calls | None = None

    async def open(self) -> tuple[str, Calls]:
        """The address, and a client without a proxy in between."""
        if self._process is None or self._process.poll() is not None:
            self._address = await self._forward()
        self._calls = self._calls or Calls()
        return self._address, self._calls

    async def _forward(self) -> str:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise Refused("kubectl: not on PATH; what acts as customers do needs it (a port of the front end)")
        target = f"service/{names.WORLD}-frontend"
        at = ["--context", self._context, "--namespace", self._namespace]
        self._process = children.start(
            [kubectl, *at, "port-forward", target, f":{names.FRONTEND_PORT}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        try:
            return await asyncio.wait_for(asyncio.to_thread(_address, self._process.stdout), OPEN_S)
        except TimeoutError:
            raise Unavailable(f"kubectl port-forward: opened no port within {OPEN_S:g} s") from None

    async def close(self) -> None:
        if self._calls is not None:
            await self._calls.close()
            self._calls = None
        if self._process is not None:
            await asyncio.to_thread(children.end, self._process, OPEN_S)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


def _address(said: IO[bytes]) -> str:
    """What kubectl says it forwards from."""
    found = _PORT.search(said.readline())
    if found is None:
        raise Unavailable("kubectl port-forward: did not open a port; is the front end running?")
    return f"127.0.0.1:{int(found[1])}"

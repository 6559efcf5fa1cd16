"""The world server's door: verbs over HTTP on a unix socket, carried out by a backend's `World`.

Decides how a verb's outcome becomes a status code (`answer` and `failed`, which the live page's door uses
too); knows no backend. One verb at a time changes the world, whichever door it came in by (`OneAtATime`), while those
that only read, or act as customers do, never wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import msgspec
from aiohttp import web

from cellwall.errors import CellwallError, Refused, Unavailable

from .. import verbs
from ..runfolder import SOCKET
from .config import ArmConfig

# Reads, and what customers do: indexes are added through the front end, for minutes perhaps, and change no process.
UNLOCKED = (verbs.Window, verbs.Faults, verbs.Fleet, verbs.Trace, verbs.GrowIndexes)
STOP = "stop"


class World(Protocol):
    """What a backend offers: one method that carries out any verb."""

    async def carry_out(self, verb: Any) -> Any: ...


class OneAtATime:
    """A world of which one verb at a time changes something, whichever door it came in by."""

    def __init__(self, world: World) -> None:
        self._world, self._lock = world, asyncio.Lock()

    async def carry_out(self, verb: Any) -> Any:
        async with contextlib.nullcontext() if isinstance(verb, UNLOCKED) else self._lock:
            return await self._world.carry_out(verb)


async def answer(world: World, name: str, body: bytes, offered: Collection[str] = verbs.VERBS) -> web.Response:
    """Carry out the verb of that name, if this door offers it."""
    if name not in offered:
        return _error(404, f"no verb {name!r}; there are {', '.join(offered)}")
    try:
        verb = msgspec.json.decode(body or b"{}", type=verbs.VERBS[name][0])
        return web.Response(body=msgspec.json.encode(await world.carry_out(verb)), content_type="application/json")
    except msgspec.DecodeError as error:
        return _error(400, f"{name}: {error}")
    except CellwallError as error:
        return failed(error)


def failed(error: CellwallError) -> web.Response:
    """The one translation of an outcome that is not "done" to a status."""
    status = 400 if isinstance(error, Refused) else 409 if isinstance(error, Unavailable) else 504
    return _error(status, str(error))


def make_app(world: World, stopped: asyncio.Event) -> web.Application:
    """POST /{verb}; after `Stop` has been answered, ``stopped`` is set."""

    async def handle(request: web.Request) -> web.Response:
        name = request.match_info["verb"]
        response = await answer(world, name, await request.read())
        if response.status == 200 and name == STOP:
            stopped.set()
        return response

    app = web.Application()
    app.router.add_post("/{verb}", handle)
    return app


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def enter(config: ArmConfig) -> ArmConfig:
    """Work in the arm's folder from now on: a unix socket's path is limited to 107 bytes, a run folder's is not."""
    calibration = None if config.calibration is None else str(Path(config.calibration).absolute())
    out = Path(config.out).absolute()
    try:
        os.chdir(out)
    except OSError as error:
        raise Refused(f"--out: {out}: {error.strerror}") from None
    return msgspec.structs.replace(config, calibration=calibration, out=str(out))


async def serve(world: OneAtATime, stopped: asyncio.Event) -> None:
    """Serve verbs in the working folder (see `enter`) until ``stopped`` is set.

    Says "ready" on stdout once the socket accepts."""
    runner = web.AppRunner(make_app(world, stopped), access_log=None, handler_cancellation=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.UnixSite(runner, SOCKET).start()
        print("ready", flush=True)
        await stopped.wait()
    finally:
        await runner.cleanup()

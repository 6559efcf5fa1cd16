"""The world server's door: verbs over HTTP on a unix socket, carried out by a backend's `World`.

Decides how a verb's outcome becomes a status code; knows no backend. One verb at a time changes the
world (a lock), while `window` and `faults` may be read at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any, Protocol

import msgspec
from aiohttp import web

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown

from .. import verbs
from ..runfolder import SOCKET
from .config import ArmConfig

READS = (verbs.Window, verbs.Faults)


class World(Protocol):
    """What a backend offers: one method that carries out any verb."""

    async def carry_out(self, verb: Any) -> Any: ...


def make_app(world: World, stopped: asyncio.Event) -> web.Application:
    """POST /{verb}; after `Stop` has been answered, ``stopped`` is set."""
    lock = asyncio.Lock()

    async def handle(request: web.Request) -> web.Response:
        kind, _ = verbs.VERBS.get(request.match_info["verb"], (None, None))
        if kind is None:
            return _error(404, f"no verb {request.match_info['verb']!r}; there are {', '.join(verbs.VERBS)}")
        try:
            verb = msgspec.json.decode(await request.read() or b"{}", type=kind)
            async with contextlib.nullcontext() if kind in READS else lock:
                answer = await world.carry_out(verb)
        except msgspec.DecodeError as error:
            return _error(400, f"{request.match_info['verb']}: {error}")
        except Refused as error:
            return _error(400, str(error))
        except Unavailable as error:
            return _error(409, str(error))
        except (Unknown, CellwallError) as error:
            return _error(504, str(error))
        if kind is verbs.Stop:
            stopped.set()
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

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


async def serve(world: World, stopped: asyncio.Event) -> None:
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

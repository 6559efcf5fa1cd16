"""The live page of a running world: what there is to see, pushed every second, and a door for a few verbs.

    GET  /              the page, and the files of `static` it refers to
    GET  /events        server-sent events: "now" (a `News`) each time there is any, "end" when the world ends
    GET  /explain/{id}  why that server is in or out (an `Explained`)
    POST /verb/{name}   carry out a verb, if it is one of OFFERED; statuses as at the world's own door

Decides who is heard: only a page that came from here, so that no other site open in the same browser can read or
change this world. Never decides what a verb does, what is remembered (`recent`), or in which words (`story`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from cellwall.errors import CellwallError, Refused, Unavailable

from .. import verbs
from ..backends.server import World, answer, failed
from ..palette import DARK, LIGHT
from . import story
from .recent import Recent

OFFERED = ("cut", "pause", "resume", "add-capacity", "limit-cpu", "weight", "grow-indexes")
SHUTDOWN_S = 1.0  # for viewers to be told of the end

INDEX, SHEET = "index.html", "page.css"
KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
COLOURS = f":root{{color-scheme:light dark;{LIGHT}}}\n@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}\n"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Explained(msgspec.Struct, frozen=True):
    """A few sentences, and the server's trace as a table."""

    story: list[str]
    columns: tuple[str, ...]
    rows: list[list[str]]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serve(world: World, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Serve the page while the block lasts, on the port that is yielded; then tell every viewer that the world ended.

    ``world``: the one that all its doors share (`backends.server.OneAtATime`). Unavailable if the port is taken."""
    recent = Recent(world)
    runner = web.AppRunner(make_app(world, recent, host), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    reading = asyncio.create_task(recent.keep_reading())
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Unavailable(f"page: {host}:{port} cannot be served ({error.strerror})") from None
        yield runner.addresses[0][1]
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await recent.end()
        await runner.cleanup()


def make_app(world: World, recent: Recent, host: str) -> web.Application:
    """The routes; ``host`` is the name that the page may be called by, beside localhost and addresses."""
    static = [file for file in (resources.files(__package__) / "static").iterdir() if file.is_file()]
    files = {file.name: file.read_text("utf-8") for file in static}
    files[SHEET] = COLOURS + files[SHEET]

    async def file(request: web.Request) -> web.Response:
        name = request.path[1:] or INDEX
        return web.Response(text=files[name], content_type=KINDS[name.rpartition(".")[2]])

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the viewer has gone
            async with contextlib.aclosing(recent.news()) as all_news:
                async for news in all_news:
                    await response.write(b"event: now\ndata: " + msgspec.json.encode(news) + b"\n\n")
            await response.write(b"event: end\ndata: {}\n\n")
        return response

    async def explain(request: web.Request) -> web.Response:
        try:
            explained = await explanation(world, recent, request.match_info["server"])
            return web.Response(body=msgspec.json.encode(explained), content_type="application/json")
        except CellwallError as error:
            return failed(error)

    async def verb(request: web.Request) -> web.Response:
        return await answer(world, request.match_info["name"], await request.read(), OFFERED)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not ours(request.host, host):
            raise web.HTTPForbidden(text=f"this page is not at {request.host}: call it localhost, or by its address")
        if request.method == "POST" and urlsplit(request.headers.get("Origin", "")).netloc != request.host:
            raise web.HTTPForbidden(text="verbs are taken from this page only; elsewhere use the cellwall commands")
        return await handler(request)

    async def harden(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    app = web.Application(middlewares=[guard])
    app.on_response_prepare.append(harden)
    app.add_routes([web.get(path, file) for path in ("/", *(f"/{name}" for name in files))])
    app.add_routes([web.get("/events", events), web.get("/explain/{server}", explain), web.post("/verb/{name}", verb)])
    return app


async def explanation(world: World, recent: Recent, name: str) -> Explained:
    """Why a server is where it is, as `cellwall explain` says it."""
    fleet = await recent.current()
    server = next((server for server in fleet.servers if server.id == name), None)
    if server is None:
        raise Refused(f"explain: no server {name!r}")
    trace = await world.carry_out(verbs.Trace(server=name))
    return Explained(story.story(server, fleet, trace), story.COLUMNS, story.rows(trace))


def ours(called: str, host: str) -> bool:
    """Whether a Host header may be ours. Somebody else's name can be made to lead here (DNS rebinding), an address
    cannot: a request to another machine's address never arrives."""
    try:
        name = urlsplit(f"//{called}").hostname or ""
        if name not in ("localhost", host):
            ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""A metadata node's part in moving groups: the steps that an operator asks for, at the administrative door.

Decides in which order a target fetches: it looks at the source, asks for one server's list after the other, looks
again, and is ready only if nothing has changed in between. Never decides which step is due (`cellwall.moves`). The
source tells what it would tell the server itself, for the same work; all of it, on both sides, takes administrative
turns.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
import msgspec
from aiohttp import web

from cellwall.errors import Refused, Unavailable, Unknown
from cellwall.moves import Holding, Request, Verb

from ..once import once
from .engine import Engine
from .groups import ArriveJob, StepJob, allowed
from .jobs import Conflict, MembershipJob

DIGEST = "Content-Digest"  # RFC 9530

Answer = Callable[[str, Awaitable[bytes]], Awaitable[web.Response]]

_decode_holding = msgspec.json.Decoder(Holding).decode


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


class Handover:
    """``partition`` tells in which metadata partition's slots an administrative request about servers waits, ``answer``
    makes a response, or an error's, of a body that is on its way."""

    def __init__(
        self, cell: str, engine: Engine, page_records: int, partitions: int, partition: Callable[[Sequence[str]], int],
        answer: Answer,
    ) -> None:  # fmt: skip
        self._cell = cell
        self._engine = engine
        self._page = page_records
        self._partitions = partitions
        self._partition = partition
        self._answer = answer

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/membership/{server}", self._tell), web.post("/groups/{verb}", self._step)]

    async def _tell(self, request: web.Request) -> web.Response:
        server = request.match_info["server"]
        job = MembershipJob(self._cell, server, self._page)
        response = await self._answer("copy", self._engine.do(job, self._partition([server]), admin=True))
        if response.status == 200:
            response.headers[DIGEST] = digest(job.body)
        return response

    async def _step(self, request: web.Request) -> web.Response:
        try:
            verb = msgspec.convert(request.match_info["verb"], Verb)
            step = msgspec.json.decode(await request.read(), type=Request)
        except msgspec.DecodeError as error:
            return await self._answer("group", _refuse(f"step of a move: {error}"))
        return await self._answer(verb, self._fetch(step) if verb == "fetch" else self._do(verb, step))

    async def _do(self, verb: Verb, step: Request) -> bytes:
        job = StepJob(verb, step, self._partitions)
        return await self._engine.do(job, self._partition(step.servers), admin=True)

    async def _fetch(self, step: Request) -> bytes:
        """What has arrived before and is still the same is not asked for again."""
        here = _decode_holding(await self._do("look", step))
        if allowed(here, "fetch", step.move) == here.phase:
            return msgspec.json.encode(here)
        async with Source(step) as source:
            there = await source.look()
            for server in step.servers:
                have = here.copies[server]
                if (have.phase, have.move) == ("arriving", step.move) and have.same_list(there.copies[server]):
                    continue
                job = ArriveJob(step.move, server, await source.tell(server), self._page)
                await self._engine.do(job, self._partition([server]), admin=True)
            again = await source.look()
        return await self._do("fetch", msgspec.structs.replace(step, held=again.copies))


class Source:
    """The cell that the group comes from: one connection and one deadline for each question."""

    def __init__(self, step: Request) -> None:
        self._step = step
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), middlewares=(once,), timeout=aiohttp.ClientTimeout(None)
        )

    async def __aenter__(self) -> Source:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def look(self) -> Holding:
        """Refused unless it holds the group for this move."""
        body = msgspec.json.encode(Request(self._step.move, self._step.servers))
        async with self._call("POST", "/groups/look", body) as answer:
            holding = _decode_holding(await answer.read())
        if (holding.phase, holding.move) != ("leaving", self._step.move):
            raise Conflict(f"fetch of move {self._step.move}: in the source the group is {holding.phase}")
        return holding

    async def tell(self, server: str) -> bytes:
        """The server's `model.Membership`, as sent."""
        async with self._call("GET", f"/membership/{server}") as answer:
            body = await answer.read()
        if answer.headers.get(DIGEST) != digest(body):
            raise Unavailable(f"{self._step.source}: the copy of {server} is not what was sent")
        return body

    @contextlib.asynccontextmanager
    async def _call(self, method: str, path: str, body: bytes | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """The border."""
        where = f"{self._step.source}: {path}"
        try:
            async with asyncio.timeout(self._step.deadline_s):
                async with self._session.request(method, f"http://{self._step.source}{path}", data=body) as answer:
                    if answer.status != 200:
                        raise Unavailable(f"{where}: status {answer.status} {(await answer.read())[:200]!r}")
                    yield answer
        except TimeoutError:
            raise Unknown(f"{where}: no answer within {self._step.deadline_s:g} s") from None
        except aiohttp.ClientError as error:
            raise Unavailable(f"{where}: {error}") from None
        except msgspec.DecodeError as error:
            raise Unavailable(f"{where}: {error}") from None


async def _refuse(text: str) -> bytes:
    raise Refused(text)

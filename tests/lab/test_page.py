"""The live page's door: what a viewer is told, which verbs it takes, and from whom. No browser, no world."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from cellwall.errors import Refused, Unavailable, Unknown
from cellwall_lab import verbs
from cellwall_lab.living import page, recent
from cellwall_lab.living.recent import Recent, point
from cellwall_lab.palette import DARK, LIGHT

from . import page_world

STATIC = Path(page.__file__).with_name("static")
FILES = sorted(file.name for file in STATIC.iterdir())
CUT = {"targets": {"domain": 0}, "for_s": 3}
SOON_S = 10.0


class Seen:
    """A page served over a world whose time passes only when a test says so."""

    def __init__(self, world: Any, recent: Recent, client: TestClient[Any, Any]) -> None:
        self.world, self.recent, self.client = world, recent, client
        self.origin = f"http://{client.host}:{client.port}"

    async def act(self, verb: str, body: Any, **headers: str) -> tuple[int, Any]:
        sent = {"Origin": self.origin, **headers}
        async with self.client.post(f"/verb/{verb}", data=json.dumps(body), headers=sent) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def get(self, path: str, **headers: str) -> tuple[int, str, Any]:
        async with self.client.get(path, headers=headers) as response:
            return response.status, await response.text(), response.headers


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    world = page_world.PageWorld(servers=100, cells=2)
    recent = Recent(world)
    async with TestClient(TestServer(page.make_app(world, recent, "127.0.0.1"))) as client:
        yield Seen(world, recent, client)
        await recent.end()


async def event(stream: aiohttp.StreamReader) -> tuple[str, Any]:
    """The next server-sent event."""
    text = await asyncio.wait_for(stream.readuntil(b"\n\n"), SOON_S)
    name, data = re.fullmatch(r"event: (\w+)\ndata: (.*)\n\n", text.decode()).groups()  # type: ignore[union-attr]
    return name, json.loads(data)


# ---------------------------------------------------------------- files


async def test_the_page_comes_with_all_it_refers_to_and_asks_nobody_else(seen: Seen) -> None:
    status, index, headers = await seen.get("/")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy
    wanted = set(re.findall(r'(?:href|src)="([\w.]+)"', index))
    for name in FILES:
        status, text, _ = await seen.get(f"/{name}")
        assert status == 200, name
        assert (STATIC / name).read_text() in text
        wanted |= set(re.findall(r'from "\./([\w.]+)"', text))
        addresses = set(re.findall(r"https?://[^'\"\s]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, f"{name} names {addresses}"
    assert wanted | {"index.html"} == set(FILES), "a file that nothing refers to, or a reference to nothing"


async def test_its_colours_are_the_report_s(seen: Seen) -> None:
    _, sheet, _ = await seen.get("/page.css")
    assert LIGHT in sheet and DARK in sheet
    used = set(re.findall(r"var\((--[\w-]+)", sheet))
    assert used - {"--tone", "--card", "--across", "--columns", "--side"} <= set(re.findall(r"(--[\w-]+):", LIGHT))


@pytest.mark.parametrize("path", ["/nothing", "/static/page.js", "/../page.py", "/verb/cut"])
async def test_no_other_file_is_served(seen: Seen, path: str) -> None:
    assert (await seen.get(path))[0] in (404, 405)


# ---------------------------------------------------------------- events


async def test_a_viewer_who_comes_late_gets_the_past_and_then_only_news(seen: Seen) -> None:
    for _ in range(7):
        await seen.recent.read()
    async with seen.client.get("/events") as response:
        name, first = await event(response.content)
        assert name == "now" and [p["t"] - page_world.START_S for p in first["points"]] == [1, 2, 3, 4, 5, 6, 7]
        assert len(first["fleet"]["servers"]) == 100 and first["condition"] == "healthy" and first["trouble"] == ""
        assert (await seen.act("cut", CUT))[0] == 200
        await seen.recent.read()
        _, second = await event(response.content)
        assert [p["t"] - page_world.START_S for p in second["points"]] == [8]
        assert sum(server["state"] == "cut" for server in second["fleet"]["servers"]) == 25
        assert second["points"][0]["out_ratio"] >= 0.25 and second["condition"] == "cut"


async def test_a_world_that_cannot_tell_leaves_its_last_state_and_says_why(seen: Seen) -> None:
    await seen.recent.read()
    seen.world.raises[verbs.Fleet] = Unavailable("storage-a ended with status 9")
    await seen.recent.read()
    async with seen.client.get("/events") as response:
        _, news = await event(response.content)
    assert news["trouble"] == "storage-a ended with status 9"
    assert news["fleet"]["now_s"] == page_world.START_S + 1


async def test_the_world_is_asked_only_while_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "EVERY_S", 0.0)
    world = page_world.PageWorld(servers=50)  # its clock moves with each look

    async def looked_at() -> bool:
        before_s = world.now_s
        for _ in range(100):  # far more turns of the loop than lie between two looks
            await asyncio.sleep(0)
        return bool(world.now_s != before_s)

    async with page.serve(world) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/") as response:
            assert response.status == 200
        assert not await looked_at()
        first, second = await session.get("/events"), await session.get("/events")
        assert (await event(first.content))[0] == (await event(second.content))[0] == "now"
        first.close()
        assert await looked_at()
        second.close()
        async with asyncio.timeout(SOON_S):
            while await looked_at():  # until it is noticed that they went
                pass
        async with session.get("/events") as third:
            _, news = await event(third.content)
            if news["fleet"] is None:  # what was seen long ago is not told as the present
                _, news = await event(third.content)
            assert news["fleet"]["now_s"] >= news["points"][-1]["t"] > page_world.START_S
            assert await looked_at()


async def test_every_viewer_is_told_of_the_end() -> None:
    async with aiohttp.ClientSession() as session:
        async with page.serve(page_world.PageWorld(servers=50)) as port:
            response = await session.get(f"http://127.0.0.1:{port}/events")
            assert (await event(response.content))[0] == "now"
        while (last := await event(response.content))[0] == "now":
            pass
        assert last == ("end", {})
        assert await response.content.read() == b""
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{port}/")


async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port} cannot be served"):
            async with page.serve(page_world.PageWorld(servers=50), port=port):
                pass


@given(steps=st.lists(st.sampled_from(["read", "fail", "look"]), max_size=60), keep=st.integers(1, 8))
def test_every_viewer_gets_each_remembered_point_once_and_in_order(steps: list[str], keep: int) -> None:
    """Twin: the list of all points ever, cut to what was still remembered at each look."""

    async def play() -> None:
        world = page_world.PageWorld(servers=25)
        recent = Recent(world, keep)
        viewer, told, taken, seen = recent.news(), 0, 0, 0  # type: ignore[var-annotated]
        for step in steps:
            if step == "look":
                if told:
                    news = await asyncio.wait_for(anext(viewer), SOON_S)
                    expected = range(max(seen, taken - keep) + 1, taken + 1)
                    assert [p.t - page_world.START_S for p in news.points] == list(expected)
                    told, seen = 0, taken
                continue
            world.raises = {verbs.Fleet: Unknown("no answer")} if step == "fail" else {}
            await recent.read()
            told, taken = told + 1, taken + (step == "read")
        await recent.end()
        assert [news async for news in viewer] == []

    asyncio.run(play())


async def test_what_nobody_told_is_no_zero() -> None:
    world = page_world.september()
    points = [point(await world.carry_out(verbs.Fleet())) for _ in range(130)]
    assert points[50].retrieval_s is not None and points[50].out_ratio == 0 and points[50].faults == []
    assert points[120].faults == ["cut"] and points[120].retrieval_s is None
    assert points[-1].phase == "settle" and points[-1].faults == [] and points[-1].out_ratio > 0.1


# ---------------------------------------------------------------- verbs


async def test_a_verb_is_carried_out_and_answered(seen: Seen) -> None:
    assert await seen.act("cut", CUT) == (200, {"id": "cut-1", "servers": 25})
    status, paused = await seen.act("pause", {"cell": "cell-1"})
    assert (status, paused["outcome"], paused["took_s"]) == (200, "done", 0.1)
    assert seen.world.calls == [verbs.Cut(targets=verbs.Targets(domain=0), for_s=3), verbs.Pause(cell="cell-1")]


@pytest.mark.parametrize(
    ("error", "status"), [(Refused("no cell x"), 400), (Unavailable("not now"), 409), (Unknown("time-out"), 504)]
)
async def test_outcomes_have_the_statuses_of_the_world_s_own_door(seen: Seen, error: Exception, status: int) -> None:
    seen.world.raises[verbs.Pause] = error
    assert await seen.act("pause", {}) == (status, {"error": str(error)})


@pytest.mark.parametrize("verb", [*sorted(set(verbs.VERBS) - set(page.OFFERED)), "nothing"])
async def test_only_what_the_page_offers_is_taken(seen: Seen, verb: str) -> None:
    assert (await seen.act(verb, {}))[0] == 404
    assert seen.world.calls == []


@pytest.mark.parametrize("body", [[], {"for_s": 3}, {**CUT, "also": 1}, {**CUT, "for_s": "3"}])
async def test_a_malformed_verb_is_refused_by_name(seen: Seen, body: Any) -> None:
    status, told = await seen.act("cut", body)
    assert status == 400 and told["error"].startswith("cut: ")
    assert seen.world.calls == []


async def test_the_page_offers_a_form_for_every_verb_it_takes() -> None:
    offered = re.findall(r'<form data-verb="([\w-]+)"', (STATIC / "index.html").read_text())
    assert sorted(offered) == sorted(page.OFFERED)


async def test_why_a_server_is_out_is_told_from_its_trace(seen: Seen) -> None:
    await seen.act("cut", CUT)  # nobody has the page open: it is asked for
    status, text, _ = await seen.get("/explain/s-0003")
    told = json.loads(text)
    assert status == 200 and "s-0003" in told["story"][0] and "its network was cut" in told["story"][0]
    assert len(told["rows"]) == 8 and {len(row) for row in told["rows"]} == {len(told["columns"])}
    status, text, _ = await seen.get("/explain/s-9999")
    assert status == 400 and "s-9999" in text
    seen.world.raises[verbs.Trace] = Unknown("storage-a: no answer")
    assert (await seen.get("/explain/s-0003"))[0] == 504


# ---------------------------------------------------------------- who is heard

FOREIGN = ["http://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1", "https://localhost"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_another_site_in_the_same_browser_cannot_act(seen: Seen, origin: str) -> None:
    status, told = await seen.act("cut", CUT, Origin=origin)
    assert status == 403 and "this page only" in told
    assert seen.world.calls == []


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", ""])
async def test_a_name_that_was_made_to_lead_here_is_not_served(seen: Seen, host: str) -> None:
    """DNS rebinding: the browser takes it for one site, so its Origin fits its Host."""
    for path in ("/", "/events", "/explain/s-0003"):
        assert (await seen.get(path, Host=host))[0] in (400, 403), path
    assert (await seen.act("cut", CUT, Host=host, Origin=f"http://{host}"))[0] in (400, 403)
    assert seen.world.calls == []


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.0.2.7", "LOCALHOST"])
async def test_its_own_names_and_addresses_are_served(seen: Seen, host: str) -> None:
    assert (await seen.get("/", Host=host))[0] == 200
    assert (await seen.act("cut", CUT, Host=host, Origin=f"http://{host}"))[0] == 200


async def test_a_name_it_was_bound_to_is_its_own() -> None:
    assert page.ours("lab.example:8000", "lab.example") and not page.ours("lab.example:8000", "127.0.0.1")

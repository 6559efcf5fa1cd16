"""The live page in a real browser, over a world that plays the event: what is seen, and what a click does.

Needs the machine's own Chromium. Screenshots land in each test's own folder; CELLWALL_SCREENSHOTS names one to
copy them to.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, async_playwright, expect

from cellwall.errors import Refused
from cellwall_lab import verbs
from cellwall_lab.living import page as served
from cellwall_lab.living.recent import Recent

from . import page_world

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync")  # fmt: skip
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 780}
WITHIN_MS = 30_000  # a busy machine; nothing here waits for a duration

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium (Debian), or name one in CHROMIUM"),
    pytest.mark.timeout(300),
]
expect.set_options(timeout=WITHIN_MS)


class Viewed:
    """A browser's view of a served world, whose time passes when the test calls `tick`."""

    def __init__(self, world: Any, recent: Recent, server: TestServer, page: Page) -> None:
        self.world, self.recent, self.server, self.page = world, recent, server, page
        self.origin = f"http://127.0.0.1:{server.port}"
        self.trouble: list[str] = []
        page.on("console", lambda said: self.trouble.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((self.origin, "data:")) else self.trouble.append(r.url))

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            await self.recent.read()

    async def shoot(self, folder: Path, name: str, *, whole: bool = False) -> None:
        path = folder / f"{name}.png"
        await self.page.screenshot(path=path, full_page=whole, animations="disabled")
        if copies := os.environ.get("CELLWALL_SCREENSHOTS"):
            Path(copies).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copies)

    def squares(self, state: str) -> Any:
        return self.page.locator(f'.cells .s[data-s="{state}"]')


async def serve(world: Any, recent: Recent, port: int | None = None) -> TestServer:
    server = TestServer(served.make_app(world, recent, "127.0.0.1"), host="127.0.0.1", port=port)
    await server.start_server(shutdown_timeout=0.1)
    return server


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGS), headless=True)
        yield browser
        await browser.close()


@pytest.fixture
async def view(browser: Browser) -> AsyncIterator[Callable[..., Any]]:
    """Serve a world, let its past happen, and open its page."""
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def opened(world: Any, past: int, **context: Any) -> AsyncIterator[Viewed]:
            recent = Recent(world)
            for _ in range(past):
                await recent.read()
            page = await browser.new_page(**{"viewport": DESKTOP, "color_scheme": "light", **context})
            page.set_default_timeout(WITHIN_MS)
            viewed = Viewed(world, recent, await serve(world, recent), page)
            await page.goto(viewed.origin)
            await expect(page.locator("#headline")).not_to_contain_text("Looking")
            yield viewed
            assert viewed.trouble == []
            await page.close()
            await recent.end()
            await viewed.server.close()

        async def view(world: Any, past: int = 1, **context: Any) -> Viewed:
            return await stack.enter_async_context(opened(world, past, **context))

        yield view


async def test_a_click_cuts_a_domain_and_its_squares_change(view: Callable[..., Any], tmp_path: Path) -> None:
    seen = await view(page_world.PageWorld(cells=4), past=90)
    page = seen.page
    await expect(seen.squares("in")).to_have_count(800)
    await expect(page.locator(".cell")).to_have_count(4)
    await expect(page.locator("#headline")).to_contain_text("All 800 servers are in service")
    await expect(page).to_have_title("healthy · 0 % out · september")
    await seen.shoot(tmp_path, "healthy", whole=True)

    await page.get_by_role("button", name="Cut off domain 0 for 3 s").click()
    await expect(page.locator("#log li").first).to_contain_text("Cut off domain 0 for 3 s")
    await expect(page.locator("#log .came").first).to_have_text("✓ done · 200 servers cut off")
    await seen.tick()
    await expect(seen.squares("cut")).to_have_count(200)
    await expect(page.locator('.cell[data-cell="cell-0"] .s[data-s="cut"]')).to_have_count(200)
    await expect(page.locator('.cell[data-cell="cell-0"] .count')).to_have_text("200 of 200 out")
    await expect(page.locator("#headline")).to_contain_text("200 of 800 servers are out, all of them cut off")
    await expect(page.locator("#chips")).to_contain_text("cut of 200 servers")
    await expect(page).to_have_title("cut · 25 % out · september")
    await seen.shoot(tmp_path, "cut", whole=True)

    await seen.tick(12)
    await expect(seen.squares("cut")).to_have_count(0)
    await expect(page.locator("#headline")).to_contain_text("out, and no fault is on")
    await expect(page.locator('.cell[data-cell="cell-3"] .count')).to_have_text("all 200 in")


async def test_each_button_says_what_it_will_do_and_the_log_what_came_of_it(view: Callable[..., Any]) -> None:
    seen = await view(page_world.PageWorld(cells=2))
    page, world = seen.page, seen.world
    await page.get_by_label("Cut off").select_option("zone b")
    await page.get_by_label("for", exact=False).last.fill("5")
    await page.get_by_role("button", name="Cut off zone b for 5 s").click()
    await page.locator("#cell").select_option("cell-1")
    await page.get_by_label("CPU limit ×").fill("1.5")
    await page.get_by_role("button", name="Multiply the CPU limit of cell-1 by 1.5").click()
    await page.get_by_label("Partition").fill("7")
    await page.get_by_role("button", name="Set partition 7 of cell-1 to 25 %").click()
    await page.get_by_role("button", name="Pause renewals in cell-1").click()
    await expect(page.locator("#log .came b")).to_have_text(["✓ done"] * 4)
    assert world.calls == [
        verbs.Cut(targets=verbs.Targets(zone="b"), for_s=5),
        verbs.LimitCpu(cell="cell-1", factor=1.5),
        verbs.Weight(cell="cell-1", partition=7, percent=25),
        verbs.Pause(cell="cell-1"),
    ]
    await seen.tick()
    await expect(page.locator('.cell[data-cell="cell-1"]')).to_contain_text("renewals paused")
    await expect(page.locator('.cell[data-cell="cell-1"]')).to_contain_text("partition 7 at 25 %")

    world.gate = asyncio.Event()
    await page.get_by_role("button", name="Add a node to cell-1").click()
    await expect(page.locator("#log .came").first).to_contain_text("under way")
    world.gate.set()
    await expect(page.locator("#log .came").first).to_contain_text("✓ done")
    world.raises[verbs.GrowIndexes] = Refused("grow-indexes.tables: there are 3")
    await page.get_by_label("Largest tables").fill("9")
    await page.get_by_role("button", name="Add an index to the 9 largest tables").click()
    await expect(page.locator("#log .came").first).to_have_text("✕ refused · grow-indexes.tables: there are 3")
    assert [text for text in seen.trouble if "400" in text] == seen.trouble, "the browser itself notes the status"
    seen.trouble.clear()


async def test_a_square_tells_why_its_server_is_out(view: Callable[..., Any], tmp_path: Path) -> None:
    seen = await view(page_world.september(), past=240)
    page = seen.page
    await seen.squares("out").nth(60).hover()
    await expect(page.locator("#tip")).to_contain_text("out of service for")
    await seen.squares("out").nth(60).click()
    await expect(page.locator("#why-story")).to_contain_text("times in vain: 6 × time-out")
    await expect(page.locator("#why-trace tbody tr")).to_have_count(8)
    await seen.shoot(tmp_path, "why")
    await page.keyboard.press("Escape")
    await expect(page.locator("#why")).to_be_hidden()
    # By keyboard alone: the focus is on the square again; its neighbour is one key away.
    first = await page.evaluate("document.activeElement.dataset.id")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page.locator("#why-title")).not_to_have_text(first)
    await page.keyboard.press("Escape")
    await page.keyboard.press("ArrowDown")
    assert await page.evaluate("document.activeElement.matches('.s')")
    await page.locator(".cell .count").first.click()
    await expect(page.locator("#why-story")).to_contain_text("out of service")


async def test_stuck_paused_and_ended_are_said_and_shown(view: Callable[..., Any], tmp_path: Path) -> None:
    world = page_world.september()
    world.tables = [{"table": "c-003/orders", "state": "UPDATING", "for_s": 74}]
    seen = await view(world, past=240)
    page = seen.page
    await expect(page.locator("#headline")).to_contain_text("out, and no fault is on")
    await expect(page).to_have_title("stuck · 50 % out · september")
    await expect(page.locator("#tables")).to_contain_text("c-003/orders")
    assert await page.locator("#outage .line-out").count() == 1
    assert await page.locator("#outage .cutting").count() == 1
    assert await page.locator("#headroom .line-ink").count() >= 1
    await expect(page.locator("#outage svg text", has_text="settle")).to_have_count(1)
    await seen.shoot(tmp_path, "stuck-light", whole=True)
    await page.emulate_media(color_scheme="dark")
    await seen.shoot(tmp_path, "stuck-dark", whole=True)
    await page.emulate_media(color_scheme="light")

    await page.get_by_role("button", name="Pause renewals in all cells").click()
    await expect(page.locator("#log .came b")).to_have_text(["✓ done"])
    await seen.tick(25)
    await expect(page.locator("#headline")).to_contain_text("renewals are paused")
    await expect(page.locator("#outage .pausing")).to_have_count(1)
    await seen.shoot(tmp_path, "paused", whole=True)

    await seen.recent.end()
    await expect(page.locator("#headline")).to_contain_text("This world has ended")
    await expect(page).to_have_title("ended · september")
    await expect(page.get_by_role("button", name="Pause renewals")).to_be_disabled()
    await seen.shoot(tmp_path, "ended")


async def test_a_lost_connection_is_said_and_comes_back_by_itself(view: Callable[..., Any]) -> None:
    seen = await view(page_world.PageWorld(servers=100), past=20)
    page, port = seen.page, seen.server.port
    await seen.server.close()
    await expect(page.locator("#link")).to_contain_text("No connection to the world")
    await expect(page).to_have_title("no connection · september")
    await expect(page.get_by_role("button", name="Pause renewals")).to_be_disabled()
    await seen.tick(5)
    seen.server = await serve(seen.world, seen.recent, port)
    await expect(page.locator("#link")).to_be_empty()
    await expect(page.get_by_role("button", name="Pause renewals")).to_be_enabled()
    drawn = await page.locator("#outage .line-out").get_attribute("d")
    assert drawn.count("L") + 1 == 25, "the past is there once, also what was missed"
    assert all("ERR_" in text for text in seen.trouble)  # the browser's own notes on the lost connection
    seen.trouble.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    view: Callable[..., Any], tmp_path: Path, scheme: str
) -> None:
    seen = await view(page_world.september(cells=4), past=240, viewport=PHONE, color_scheme=scheme, has_touch=True)
    page = seen.page
    await expect(page.locator(".cells .s")).to_have_count(800)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) == 0
    spilt = """[...document.querySelectorAll('.cell')].filter((cell) => [...cell.querySelectorAll('*')].some((inner) =>
        inner.getBoundingClientRect().right > cell.getBoundingClientRect().right))"""
    assert await page.evaluate(f"{spilt}.length") == 0, "something hangs out of its card"
    await seen.shoot(tmp_path, f"phone-{scheme}", whole=True)
    await seen.squares("out").first.tap()
    await expect(page.locator("#why-story")).to_contain_text("times in vain")
    assert await page.evaluate(wide) == 0
    await seen.shoot(tmp_path, f"phone-{scheme}-why")

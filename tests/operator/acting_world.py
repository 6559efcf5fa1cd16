"""An operator with a plan of the test's own, against the API double, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio.client.configuration import Configuration

from cellwall_operator.__main__ import Operator
from cellwall_operator.actions import Plan
from cellwall_operator.api import Api
from cellwall_operator.objects import Observed
from cellwall_operator.settings import Settings

from .api_double import ApiDouble

LABELS = {"app.kubernetes.io/part-of": "cellwall", "cellwall.dev/service": "w"}


def configuration(url: str) -> Configuration:
    found = Configuration()
    found.host = url
    return found


@asynccontextmanager
async def api(double: ApiDouble, wrote: Callable[[str, str], None] = lambda verb, plural: None) -> AsyncIterator[Api]:
    async with Api(configuration(double.url), wrote) as found:
        yield found


@asynccontextmanager
async def operating(
    double: ApiDouble, plan: Callable[[Observed, float], Plan], **settings: Any
) -> AsyncIterator[Operator]:
    """It runs, with kopf, until the block ends; a crash of it is the test's."""
    wanted = {"services_image": "services", "identity": "one", "host": "127.0.0.1", "metrics_port": 0, **settings}
    async with aiohttp.ClientSession() as session:
        operator = Operator(Settings(**wanted), configuration(double.url), session, plan)
        task = asyncio.create_task(operator.run())
        try:
            yield operator
            assert not task.done() or operator.stop.is_set(), task
        finally:
            operator.stop.set()
            await asyncio.wait([task], timeout=20)
            assert task.done(), "does not end"
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error


async def until(said: Callable[[], object], what: str = "") -> None:
    """Wait for a condition; a deadline makes it fail instead of hang."""
    try:
        async with asyncio.timeout(30):
            while not said():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not in time: {what or said}") from None

"""kopf, as a watcher and nothing else; the only module that imports it.

Decides what is watched and how kopf is set up. Its handlers put an object into the cache and return: they never wait
for anything and never write, so kopf adds no finalizer, no annotation and no event to any object (deleting is left to
owner references). Why so: research 03 §1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import kopf

from .api import CHILDREN, OWN, PAGE_OBJECTS
from .cache import Cache, version_of
from .listing import SELECTOR

PREFIX = "operator.cellwall.dev"  # kopf's own default is a name that other operators use too; nothing is written

LOGIN_S = 2.0  # between two logins: who is refused does not hammer the API server (guess)


def settings() -> kopf.OperatorSettings:
    """research 03 §1.3, its table."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = f"{PREFIX}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX, v1=False)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    settings.watching.chunk_size = PAGE_OBJECTS
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.scanning.disabled = True  # neither CRDs nor namespaces are watched: fewer rights
    settings.posting.enabled = False  # see events
    settings.execution.max_workers = 1  # no handler runs in a thread
    for kind in CHILDREN:
        settings.watching.label_selectors[kind.api_version, kind.plural] = SELECTOR
    return settings


def registry(
    cache: Cache, connect: Callable[[], tuple[str, aiohttp.ClientSession]], ending: Callable[[], Awaitable[None]]
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:  # before kopf cancels every task of the loop that it does not know
        await ending()

    last_s = float("-inf")

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        nonlocal last_s
        loop = asyncio.get_running_loop()
        await asyncio.sleep(last_s + LOGIN_S - loop.time())  # kopf asks again at once when it was refused
        last_s = loop.time()
        server, session = connect()
        return kopf.AiohttpSession(server=server, aiohttp_session=session)

    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        body: Any = event["object"]
        if event["type"] == "DELETED":
            meta = body["metadata"]
            cache.drop(body["kind"], meta["namespace"], meta["name"], meta["uid"], version_of(body))
        else:
            cache.put(body)

    for kind in (*OWN, *CHILDREN):
        kopf.on.event(kind.api_version, kind.plural, registry=registry, id=f"seen-{kind.plural}")(seen)
    return registry


async def watch(
    cache: Cache,
    connect: Callable[[], tuple[str, aiohttp.ClientSession]],
    namespaces: Sequence[str],
    stop: asyncio.Event,
    ending: Callable[[], Awaitable[None]],
) -> None:
    """Keep the cache as the API server is, until ``stop`` or a signal; ``ending`` is awaited then."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=registry(cache, connect, ending),
        settings=settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )

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

import kopf

from .api import CHILDREN, OWN, PAGE_OBJECTS, Connection
from .cache import Cache
from .listing import SELECTOR

PREFIX = "operator.cellwall.dev"  # kopf's own default is a name that other operators use too; nothing is written


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
    cache: Cache, connection: Callable[[], Awaitable[Connection]], ending: Callable[[], Awaitable[None]]
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:  # before kopf cancels every task of the loop that it does not know
        await ending()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        known = await connection()
        return kopf.ConnectionInfo(
            server=known.server,
            ca_path=known.ca_path,
            insecure=known.insecure,
            token=known.token,
            certificate_path=known.certificate_path,
            private_key_path=known.key_path,
        )

    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        body: Any = event["object"]
        if event["type"] == "DELETED":
            meta = body["metadata"]
            cache.drop(body["kind"], meta["namespace"], meta["name"], meta["uid"])
        else:
            cache.put(body)

    for kind in (*OWN, *CHILDREN):
        kopf.on.event(kind.api_version, kind.plural, registry=registry, id=f"seen-{kind.plural}")(seen)
    return registry


async def watch(
    cache: Cache,
    connection: Callable[[], Awaitable[Connection]],
    namespaces: Sequence[str],
    stop: asyncio.Event,
    ending: Callable[[], Awaitable[None]],
) -> None:
    """Keep the cache as the API server is, until ``stop`` or a signal; ``ending`` is awaited then."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=registry(cache, connection, ending),
        settings=settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )

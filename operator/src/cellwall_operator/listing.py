"""What is asked of the API server itself: lists that make the cache whole, and what kind of cluster it is.

A watch tells what changes while it is connected. What went while it was not, kopf never tells (it lists anew, and a
list has no line for what is missing), so every kind is listed once in SWEEP_S and compared. Decides nothing; never
writes. Invariant: nobody reconciles before every kind was listed once: a plan that sees no map yet would publish an
old one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from . import names
from .api import CHILDREN, CRDS, OWN, Api, Kind
from .cache import Cache, Name
from .crds import definitions
from .errors import Forbidden, Missing, Refused

SWEEP_S = 600.0  # guess: a missed deletion is rare, a list of 5,000 pods costs the API server 0.3 s
SELECTOR = f"{names.PART_OF}=cellwall"

RESIZE_SINCE = (1, 33)  # pods/resize is on by default from then (KEP-1287)

log = logging.getLogger(__name__)


async def can_resize(api: Api) -> bool:
    """Whether this server resizes pods in place."""
    return await api.version() >= RESIZE_SINCE


async def other_definitions(api: Api) -> str:
    """The custom resource definitions that are of another version than this operator, or "". Reading them needs a
    right of the whole cluster; without it nothing is said."""
    others = []
    for kind in definitions.KINDS:
        try:
            found = await api.get(CRDS, None, kind.name)
        except Forbidden:
            return ""
        except Missing:
            continue  # listing it says so, and what to do
        if (found["metadata"].get("annotations") or {}).get(definitions.FINGERPRINT) != definitions.fingerprint(kind):
            others.append(kind.name)
    return ", ".join(others)


async def fill(cache: Cache, api: Api, namespaces: Sequence[str]) -> int:
    """List every kind; how many objects differed from what was known."""
    return sum([await _list(cache, api, kind, namespaces) for kind in (*OWN, *CHILDREN)])


async def _list(cache: Cache, api: Api, kind: Kind, namespaces: Sequence[str]) -> int:
    differed = 0
    for namespace in namespaces or (None,):
        seen: dict[Name, str] = {}
        version = 0
        try:
            async for items, text in api.list(kind, namespace, SELECTOR if kind in CHILDREN else None):
                version = int(text)
                for body in items:
                    meta = body["metadata"]
                    seen[kind.kind, meta["namespace"], meta["name"]] = meta["uid"]
                    differed += cache.put(body)
        except Missing:
            if kind not in OWN:
                raise
            raise Refused(
                f"{kind.plural}.cellwall.dev: not known to this API server; install the chart cellwall-crds first"
            ) from None
        differed += cache.listed(kind.kind, (namespace,) if namespace else (), seen, version)
    return differed

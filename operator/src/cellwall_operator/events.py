"""What is told to whoever reads an object's events (`kubectl describe`, `kubectl events`).

Decides when a message is an event of its own, when it raises the count of an earlier one, and when it is swallowed: the
same thing of the same object is told at most every AGAIN_S. Never fails: an event that cannot be written is a line in
the log. Invariant: an event's name follows from what it says, so a restarted operator counts on instead of repeating.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from . import actions, names
from .api import EVENTS, Api
from .errors import CellwallError, Conflict, Missing

AGAIN_S = 300.0  # research 03 §1.3: five minutes
REMEMBERED = 2000  # sayings; a service at work has tens, so this is hundreds of services
MESSAGE_MAX = 1024  # the API's own limit of a note

log = logging.getLogger(__name__)


class Said(msgspec.Struct):
    """How often something was said, and when it was last written."""

    count: int
    written_s: float


class Events:
    def __init__(self, api: Api, identity: str, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._identity = identity
        self._monotonic = monotonic
        self._said: OrderedDict[str, Said] = OrderedDict()

    async def tell(self, namespace: str, event: actions.Event) -> None:
        """Write it, unless the same was written a moment ago."""
        name = name_of(namespace, event)
        now_s = self._monotonic()
        said = self._said.pop(name, None) or Said(0, float("-inf"))
        self._said[name] = said
        said.count += 1
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        if now_s - said.written_s < AGAIN_S:
            return
        said.written_s = now_s
        level = logging.WARNING if event.type == "Warning" else logging.INFO
        log.log(level, "%s %s/%s: %s: %s", event.ref.kind, namespace, event.ref.name, event.reason, event.message)
        try:
            await self._write(namespace, name, event, said)
        except CellwallError as error:
            log.warning("event not written: %s", error)

    async def _write(self, namespace: str, name: str, event: actions.Event, said: Said) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if said.count == 1:
            try:
                await self._api.create(manifest(namespace, name, event, self._identity, now))
                return
            except Conflict:  # written before this operator started, within the hour that events live
                said.count = 2
        try:
            series = {"count": said.count, "lastObservedTime": now}
            await self._api.patch(EVENTS, namespace, name, {"series": series})
        except Missing:
            said.count = 1
            await self._api.create(manifest(namespace, name, event, self._identity, now))


def name_of(namespace: str, event: actions.Event) -> str:
    ref = event.ref
    text = "\0".join((namespace, ref.kind, ref.name, ref.uid, event.type, event.reason, event.message))
    return f"{ref.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def manifest(namespace: str, name: str, event: actions.Event, identity: str, now: str) -> dict[str, Any]:
    ref = event.ref
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"namespace": namespace, "name": name},
        "eventTime": now,
        "type": event.type,
        "reason": event.reason,
        "action": event.reason,  # required by the API; what was done is what the reason says
        "note": event.message[:MESSAGE_MAX],
        "regarding": {"apiVersion": ref.api_version, "kind": ref.kind, "namespace": namespace, "name": ref.name}
        | ({"uid": ref.uid} if ref.uid else {}),
        "reportingController": f"cellwall.dev/{names.OPERATOR}",
        "reportingInstance": identity,
    }

"""Carries out what a plan asks for; the only module that changes anything.

Decides how an action becomes a request, and nothing else: neither whether it is needed nor what comes next. What the
API server answers to a write goes into the cache at once, so that the next plan sees it. Invariants: a track's actions
are carried out in order and the track ends at its first failure; every action may be carried out twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from . import names
from .actions import (
    Action,
    Apply,
    Create,
    Delete,
    Event,
    GroupStep,
    Join,
    MarkJoined,
    Merge,
    Nudge,
    Plan,
    Ref,
    Resize,
    Status,
)
from .api import KINDS, PODS, STRATEGIC, Api, Kind, Object
from .cache import Key
from .errors import CellwallError, Conflict, Missing, Refused, Unknown
from .events import Events

TRACKS_AT_ONCE = 32  # a service of 64 cells has 130: even if every answer times out, all are through in 50 s
PODS_AT_ONCE = 16  # nudges under way

log = logging.getLogger(__name__)


class Outcome(msgspec.Struct):
    """What became of a plan. ``changed``: how many writes changed something; ``stale``: tracks whose objects had
    changed since they were observed (observe again; no failure); ``failures``: track to what went wrong."""

    changed: int = 0
    stale: list[str] = []
    failures: dict[str, CellwallError] = {}


class Applier:
    """``saw``: what the API server now has. ``begin``: starts an attempt to join, or a step of a move.
    ``count(action, outcome)``."""

    def __init__(
        self,
        api: Api,
        events: Events,
        saw: Callable[[Object], object],
        begin: Callable[[Key, Join | GroupStep], bool],
        count: Callable[[str, str], None],
    ) -> None:
        self._api = api
        self._events = events
        self._saw = saw
        self._begin = begin
        self._count = count

    async def carry_out(self, key: Key, plan: Plan) -> Outcome:
        """All tracks, some at a time: one that waits for a slow answer holds up no other."""
        outcome, room = Outcome(), asyncio.Semaphore(TRACKS_AT_ONCE)

        async def one(track: str, wanted: tuple[Action, ...]) -> None:
            async with room:
                await self._track(key, track, wanted, outcome)

        async with asyncio.TaskGroup() as group:
            for track, wanted in plan.tracks.items():
                group.create_task(one(track, wanted))
        return outcome

    async def _track(self, key: Key, track: str, wanted: tuple[Action, ...], outcome: Outcome) -> None:
        for action in wanted:
            name = type(action).__name__
            try:
                outcome.changed += await self._do(key[0], key, action)
                self._count(name, "done")
            except Conflict as error:
                self._count(name, "conflict")
                log.info("%s/%s: %s: changed meanwhile, looking again: %s", *key, track, error)
                outcome.stale.append(track)
                return
            except CellwallError as error:
                self._count(name, "failed")
                outcome.failures[track] = error
                return
            except Exception as error:  # a bug: it stops this track, not the other cells
                log.exception("%s/%s: %s: %s", *key, track, name)
                self._count(name, "bug")
                outcome.failures[track] = Unknown(f"{name}: {type(error).__name__}: {error}")
                return

    async def _do(self, namespace: str, key: Key, action: Action) -> bool:
        """Whether it changed something that the next plan should see."""
        match action:
            case Create(manifest):
                return await self._create(_body(manifest, namespace))
            case Apply(manifest, version):
                body = _body(manifest, namespace)
                if version:
                    body["metadata"]["resourceVersion"] = version
                return self._see(await self._api.apply(body))
            case Status(ref, status):
                body = {"apiVersion": ref.api_version, "kind": ref.kind, "status": msgspec.to_builtins(status)}
                body["metadata"] = {"namespace": namespace, "name": ref.name} | ({"uid": ref.uid} if ref.uid else {})
                return self._see(await self._api.apply(body, "status"))
            case Merge(ref, patch):
                change = msgspec.to_builtins(patch) | _only(ref.uid, patch.get("metadata"))
                return self._see(await self._api.patch(_kind(ref), namespace, ref.name, change))
            case Delete(ref):
                with contextlib.suppress(Conflict):  # a namesake of another uid: the one that was meant is gone
                    await self._api.delete(_kind(ref), namespace, ref.name, ref.uid or None)
                return False  # the watch tells when it has gone
            case MarkJoined(pod, uid, reason, message):
                change = {"status": {"conditions": [_condition(reason, message)]}} | _only(uid)
                return self._see(await self._api.patch(PODS, namespace, pod, change, "status", STRATEGIC))
            case Resize(pod, uid, container, limit, request):
                cpu = {"limits": {"cpu": limit}, "requests": {"cpu": request}}
                change = {"spec": {"containers": [{"name": container, "resources": cpu}]}} | _only(uid)
                return self._see(await self._api.patch(PODS, namespace, pod, change, "resize", STRATEGIC))
            case Nudge(pods, version):
                return await self._nudge(namespace, pods, version)
            case Join() | GroupStep():
                return self._begin(key, action)
            case Event():
                await self._events.tell(namespace, action)
                return False

    async def _create(self, body: Object) -> bool:
        try:
            return self._see(await self._api.create(body))
        except Conflict:  # it is there already: see it as it is
            kind, metadata = KINDS[body["apiVersion"], body["kind"]], body["metadata"]
            return self._see(await self._api.get(kind, metadata["namespace"], metadata["name"]))

    async def _nudge(self, namespace: str, pods: tuple[str, ...], version: int) -> bool:
        change = {"metadata": {"annotations": {names.MAP_VERSION: str(version)}}}
        room = asyncio.Semaphore(PODS_AT_ONCE)

        async def one(pod: str) -> None:
            async with room:
                with contextlib.suppress(Missing):  # gone meanwhile; its successor mounts the map as it is
                    self._see(await self._api.patch(PODS, namespace, pod, change))

        results = await asyncio.gather(*map(one, pods), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error
        return True

    def _see(self, body: Object) -> bool:
        self._saw(body)
        return True


def _body(manifest: Mapping[str, Any], namespace: str) -> Object:
    """A manifest that may be sent: plain, and with its namespace."""
    body: Object = msgspec.to_builtins(manifest)
    return {**body, "metadata": {"namespace": namespace, **body["metadata"]}}


def _kind(ref: Ref) -> Kind:
    kind = KINDS.get((ref.api_version, ref.kind))
    if kind is None:
        raise Refused(f"kind: {ref.api_version} {ref.kind} is not one this operator knows")
    return kind


def _only(uid: str, metadata: Mapping[str, Any] | None = None) -> Object:
    """A patch with this is refused (conflict) if the object of that name is another by now."""
    return {"metadata": {**msgspec.to_builtins(metadata or {}), "uid": uid}} if uid else {}


def _condition(reason: str, message: str) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": names.JOINED,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }

"""An API server in memory: enough of its verbs for the acting part, over real HTTP.

Objects by path; get, list (label selector, pages), watch, create, replace, patch (merge, strategic and apply), delete
with a uid precondition, the status and resize subresources, and what kopf asks to find its kinds. Every request is in
``log``; ``fail`` answers chosen ones with a status. It knows no schema, no controller and no garbage collector.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from cellwall_operator.api import CRDS, EVENTS, KINDS, Kind
from cellwall_operator.crds.definitions import FINGERPRINT, fingerprint
from cellwall_operator.crds.definitions import KINDS as DEFINED

WRITES = ("POST", "PUT", "PATCH", "DELETE")
MERGE_KEYS = ("type", "name")  # of the lists that a strategic merge joins


class Request(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: dict[str, str]
    body: Any = None
    authorization: str = ""


class ApiDouble:
    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}  # by path
        self.log: list[Request] = []
        self.fail: Callable[[Request], int] = lambda request: 0
        self.hang = asyncio.Event()  # set: answers; cleared: nothing is answered
        self.hang.set()
        self.url = ""
        self.definitions = {
            kind.name: {"metadata": {"annotations": {FINGERPRINT: fingerprint(kind)}}} for kind in DEFINED
        }
        self._applied: dict[str, Any] = {}
        self._versions = itertools.count(100)
        self._uids = itertools.count(1)
        self._watches: list[tuple[str, str, asyncio.Queue[dict[str, Any] | None]]] = []

    # ------------------------------------------------------------ for tests

    def writes(self, *, leases: bool = False) -> list[Request]:
        return [r for r in self.log if r.method in WRITES and (leases or "/leases" not in r.path)]

    def seed(self, kind: Kind, namespace: str, name: str, **parts: Any) -> dict[str, Any]:
        """Make an object as a user or a controller would; an existing one is changed."""
        path = kind.path(namespace, name)
        body = copy.deepcopy(self.objects.get(path) or {"metadata": {}})
        body |= {"apiVersion": kind.api_version, "kind": kind.kind}
        metadata = parts.pop("metadata", {})
        body["metadata"] = {**body["metadata"], "namespace": namespace, "name": name, **metadata}
        return self._store(path, body | copy.deepcopy(parts))

    def remove(self, kind: Kind, namespace: str, name: str, *, unseen: bool = False) -> None:
        """``unseen``: no watch is told, as when it went while the watch was not connected."""
        body = self.objects.pop(kind.path(namespace, name))
        if not unseen:
            self._tell("DELETED", kind.path(namespace, name), body)

    def end_watches(self) -> None:
        for _, _, queue in self._watches:
            queue.put_nowait(None)

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        return self.objects[kind.path(namespace, name)]

    # ------------------------------------------------------------ storing

    def _store(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        before = self.objects.get(path)
        meta = body["metadata"]
        if before is not None and _plain(before) == _plain(body):
            return before
        meta.setdefault("uid", f"uid-{next(self._uids)}")
        meta.setdefault("creationTimestamp", "2026-11-23T01:00:00Z")
        changed = before is None or before.get("spec") != body.get("spec")
        meta["generation"] = (before or {"metadata": {}})["metadata"].get("generation", 0) + changed
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[path] = body
        self._tell("ADDED" if before is None else "MODIFIED", path, body)
        return body

    def _tell(self, kind: str, path: str, body: dict[str, Any]) -> None:
        if kind == "DELETED":
            body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(next(self._versions))}}
        collection = path.rpartition("/")[0]
        for where, selector, queue in self._watches:
            if _within(collection, where) and _selected(body, selector):
                queue.put_nowait({"type": kind, "object": copy.deepcopy(body)})

    # ------------------------------------------------------------ HTTP

    async def handle(self, http: web.Request) -> web.StreamResponse:
        text = await http.text()
        request = Request(
            http.method,
            http.path,
            dict(http.query),
            json.loads(text) if text else None,
            http.headers.get("Authorization", ""),
        )
        self.log.append(request)
        await self.hang.wait()
        if status := self.fail(request):
            return _status(status, f"told to fail with {status}")
        path = request.path
        if found := _discovery(path) or self.definitions.get(path.rpartition("/")[2]):
            return web.json_response(found)
        collections = {k.plural for k in KINDS.values()}
        if path.rpartition("/")[2] in collections:
            if request.method == "POST":
                return self._create(request)
            return await self._watch(http, request) if "watch" in request.query else self._list(request)
        path, subresource = _split(path)
        if path not in self.objects:
            return self._apply(request, path, "") if _applies(http) and not subresource else _status(404, "not found")
        match request.method:
            case "GET":
                return web.json_response(self.objects[path])
            case "PUT":
                return self._replace(request, path)
            case "DELETE":
                return self._delete(request, path)
            case "PATCH" if _applies(http):
                return self._apply(request, path, subresource)
            case "PATCH":
                return self._patch(request, path, "strategic" in http.content_type)
        return _status(405, "method")

    def _create(self, request: Request) -> web.Response:
        path = f"{request.path}/{request.body['metadata']['name']}"
        if path in self.objects:
            return _status(409, "already exists")
        return web.json_response(self._store(path, request.body), status=201)

    def _replace(self, request: Request, path: str) -> web.Response:
        if request.body["metadata"].get("resourceVersion") != self.objects[path]["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        return web.json_response(self._store(path, request.body))

    def _delete(self, request: Request, path: str) -> web.Response:
        uid = ((request.body or {}).get("preconditions") or {}).get("uid")
        if uid not in (None, self.objects[path]["metadata"]["uid"]):
            return _status(409, "uid")
        self._tell("DELETED", path, self.objects.pop(path))
        return web.json_response({"kind": "Status", "status": "Success"})

    def _apply(self, request: Request, path: str, subresource: str) -> web.Response:
        assert request.query == {"fieldManager": "cellwall-operator", "force": "true"}, request.query
        body, live = request.body, self.objects.get(path)
        version, uid = (body["metadata"].pop(name, None) for name in ("resourceVersion", "uid"))
        if live is None and (version or uid):
            return _status(409, "not there")
        if live is not None and version not in (None, live["metadata"]["resourceVersion"]):
            return _status(409, "the object has been modified")
        if live is not None and uid not in (None, live["metadata"]["uid"]):
            return _status(409, "uid")
        before = self._applied.get(path + subresource)
        self._applied[path + subresource] = copy.deepcopy(body)
        return web.json_response(self._store(path, _merge(_without(live or {}, before, body), body)))

    def _patch(self, request: Request, path: str, strategic: bool) -> web.Response:
        live = self.objects[path]
        if request.body.get("metadata", {}).get("uid") not in (None, live["metadata"]["uid"]):
            return _status(422, "uid: field is immutable")
        return web.json_response(self._store(path, _merge(copy.deepcopy(live), request.body, strategic)))

    def _list(self, request: Request) -> web.Response:
        found = sorted(
            (
                body
                for path, body in self.objects.items()
                if _within(path.rpartition("/")[0], request.path)
                if _selected(body, request.query.get("labelSelector", ""))
            ),
            key=lambda body: (body["metadata"]["namespace"], body["metadata"]["name"]),
        )
        start, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", 500))
        metadata = {"resourceVersion": str(next(self._versions))}
        if start + limit < len(found):
            metadata["continue"] = str(start + limit)
        items = [{k: v for k, v in b.items() if k not in ("kind", "apiVersion")} for b in found[start : start + limit]]
        kind = next(k for k in KINDS.values() if request.path.endswith(f"/{k.plural}") and k is not EVENTS)
        page = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}
        return web.json_response(page)

    async def _watch(self, http: web.Request, request: Request) -> web.StreamResponse:
        """From now on. (What changed since the version asked for is lost, as after `410 Gone`; kopf lists anew.)"""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        entry = (request.path, request.query.get("labelSelector", ""), queue)
        since = int(request.query.get("resourceVersion", 0))
        for path, body in list(self.objects.items()):
            newer = int(body["metadata"]["resourceVersion"]) > since
            if newer and _within(path.rpartition("/")[0], entry[0]) and _selected(body, entry[1]):
                queue.put_nowait({"type": "ADDED", "object": copy.deepcopy(body)})
        self._watches.append(entry)
        try:
            await response.prepare(http)
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
            await response.write(json.dumps(gone).encode() + b"\n")
        except ConnectionResetError:
            pass  # whoever watched has gone
        finally:
            self._watches.remove(entry)
        return response


@asynccontextmanager
async def serving(double: ApiDouble):
    """The double at a port; its URL in ``url``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", double.handle)
    # kopf waits at its end for every task of the loop that it does not know, so no connection lingers.
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=0.05, handler_cancellation=True
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield double
    finally:
        double.hang.set()
        double.end_watches()
        await runner.cleanup()


# ---------------------------------------------------------------- pieces


def _status(status: int, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": status, "message": message}
    return web.json_response(body, status=status)


def _applies(http: web.Request) -> bool:
    return http.method == "PATCH" and http.content_type == "application/apply-patch+yaml"


def _split(path: str) -> tuple[str, str]:
    head, _, last = path.rpartition("/")
    return (head, last) if last in ("status", "resize") and head.count("/") > 4 else (path, "")


def _within(collection: str, where: str) -> bool:
    """Whether a namespace's collection is in what is asked for: itself, or that of all namespaces."""
    if collection == where:
        return True
    head, _, tail = collection.partition("/namespaces/")
    return f"{head}/{tail.partition('/')[2]}" == where


def _selected(body: dict[str, Any], selector: str) -> bool:
    labels = body["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, _, value in (s.partition("=") for s in selector.split(",") if s))


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    noise = ("resourceVersion", "generation")
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k not in noise}}


def _merge(live: Any, change: Any, strategic: bool = False) -> Any:
    if isinstance(live, dict) and isinstance(change, dict):
        result = dict(live)
        for key, value in change.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = _merge(live.get(key), value, strategic)
        return result
    if strategic and isinstance(live, list) and change and isinstance(change[0], dict):
        key = next(name for name in MERGE_KEYS if name in change[0])
        known = {item[key]: item for item in live}
        return list((known | {item[key]: _merge(known.get(item[key]), item, True) for item in change}).values())
    return copy.deepcopy(change)


def _without(live: Any, before: Any, now: Any) -> Any:
    """``live`` without what was applied before and is not any more."""
    if not (isinstance(live, dict) and isinstance(before, dict) and isinstance(now, dict)):
        return live
    return {
        key: _without(value, before.get(key), now.get(key))
        for key, value in live.items()
        if key in now or key not in before
    }


def _discovery(path: str) -> dict[str, Any] | None:
    groups: dict[str, list[Kind]] = {}
    for kind in (*KINDS.values(), Kind("v1", "Namespace", "namespaces"), CRDS):
        groups.setdefault(kind.api_version, []).append(kind)
    if path == "/version":
        return {"major": "1", "minor": "34+"}
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        found = [api_version.split("/") for api_version in groups if "/" in api_version]
        return {
            "groups": [
                {"name": group, "versions": [{"version": version}], "preferredVersion": {"version": version}}
                for group, version in found
            ]
        }
    kinds = groups.get(path.removeprefix("/apis/").removeprefix("/api/"))
    if kinds is None:
        return None
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    namespaced = ("Namespace", "CustomResourceDefinition")
    return {
        "resources": [
            {
                "name": k.plural,
                "kind": k.kind,
                "singularName": "",
                "namespaced": k.kind not in namespaced,
                "verbs": verbs,
            }
            for k in kinds
        ]
    }

"""An API server without a cluster: objects by path, merge patches, watches, logs that break, and a pod proxy.

Knows nothing of Kubernetes beyond what the backend asks of it. A test sets ``on_patch`` to play the operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from cellwall_lab.backends.cluster import names

Object = dict[str, Any]
NS = "cellwall-test-1-0001"


def merged(value: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for key, inner in patch.items():
        if inner is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), inner)
    return found


def pod(
    name: str, component: str, *, cell: str = "", cpu: str = "", joined: bool = False, uid: str = "", **status: Any
) -> Object:
    """A pod that runs, unless ``status`` says otherwise (fields of its container status)."""
    labels = {names.PART_OF: "cellwall", names.COMPONENT: component} | ({names.CELL: cell} if cell else {})
    container: Object = {"name": component, "restartCount": 0, "state": {"running": {}}, **status}
    if cpu:
        container["resources"] = {"limits": {"cpu": cpu}}
    conditions = [{"type": "Ready", "status": "True"}] + ([{"type": names.JOINED, "status": "True"}] if joined else [])
    return {
        "metadata": {"name": name, "uid": uid or f"uid-{name}", "labels": labels},
        "spec": {"nodeName": "worker"},
        "status": {"phase": "Running", "conditions": conditions, "containerStatuses": [container]},
    }


def failed(status: int, message: str) -> web.Response:
    """As the API server says it."""
    return web.json_response({"kind": "Status", "apiVersion": "v1", "message": message}, status=status)


class FakeCluster:
    """``objects`` by path; ``logs``: each pod's lines with their time."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.patches: list[tuple[str, Object]] = []
        self.on_patch: Callable[[str, Object], None] = lambda path, patch: None
        self.proxied: Callable[[web.Request, str], Awaitable[web.StreamResponse]] = self._nobody
        self.logs: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.breaks: list[int] = []  # after how many lines each of the next log streams breaks; then they last
        self.log_queries: list[Object] = []
        self.events: list[Object] = []
        self.lists = 0
        self.watching = True  # false: a watch says that it is too old
        self.url = ""

    async def _nobody(self, request: web.Request, path: str) -> web.StreamResponse:
        return failed(503, f"no endpoints available for {path}")

    def put_pod(self, found: Object) -> None:
        path = names.core(NS, "pods", found["metadata"]["name"])
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self.objects[path] = found
        self.events.append({"type": kind, "object": found})

    def remove_pod(self, name: str) -> None:
        self.events.append({"type": "DELETED", "object": self.objects.pop(names.core(NS, "pods", name))})

    # ------------------------------------------------------------ the server

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if "/proxy/" in path:
            return await self.proxied(request, path.partition(f"/{NS}/")[2].replace("/proxy/", "/", 1))
        if path.endswith("/log"):
            return await self._log(request, path.split("/")[-2])
        if request.method == "GET" and request.query.get("watch"):
            return await self._watch(request)
        if request.method == "POST":
            body = await request.json()
            name = body.get("metadata", {}).get("name", "review")
            self.objects[f"{path}/{name}"] = body
            return web.json_response(body, status=201)
        if request.method == "PATCH":
            assert request.headers["Content-Type"] == "application/merge-patch+json"
            patch = await request.json()
            if path not in self.objects:
                return failed(404, f"{path} not found")
            self.objects[path] = merged(self.objects[path], patch)
            self.patches.append((path, patch))
            self.on_patch(path, patch)
            return web.json_response(self.objects[path])
        if request.method == "DELETE":
            return web.json_response({}) if self.objects.pop(path, None) else failed(404, f"{path} not found")
        if path in self.objects:
            return web.json_response(self.objects[path])
        items = [found for at, found in self.objects.items() if at.rpartition("/")[0] == path]
        if selector := request.query.get("labelSelector"):
            wanted = dict(term.split("=") for term in selector.split(","))
            items = [i for i in items if wanted.items() <= i["metadata"].get("labels", {}).items()]
        if not path.endswith("s") and not items:  # a plural is a collection
            return failed(404, f"{path} not found")
        self.lists += 1
        return web.json_response({"metadata": {"resourceVersion": str(len(self.events))}, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if not self.watching:
            self.watching = True
            await response.write(json.dumps({"type": "ERROR", "object": {"code": 410}}).encode() + b"\n")
            return response
        told = int(request.query["resourceVersion"])
        with contextlib.suppress(ConnectionError):
            while True:
                for event in self.events[told:]:
                    await response.write(json.dumps(event).encode() + b"\n")
                told = len(self.events)
                await asyncio.sleep(0.01)
        return response

    async def _log(self, request: web.Request, name: str) -> web.StreamResponse:
        self.log_queries.append(dict(request.query))
        since = request.query.get("sinceTime", "")
        most = self.breaks.pop(0) if self.breaks else None
        response = web.StreamResponse()
        await response.prepare(request)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while True:
                lines = [f"{at} {line}\n" for at, line in self.logs[name] if at[:19] >= since[:19]]
                for line in lines[sent:most]:
                    await response.write(line.encode())
                    sent += 1
                if most is not None and sent >= most:
                    assert request.transport is not None
                    await response.write(b"2026-11-23T")  # in the middle of a line
                    request.transport.close()
                    return response
                found = self.objects.get(names.core(NS, "pods", name))
                if found is None or found["status"]["phase"] in ("Succeeded", "Failed"):
                    return response
                await asyncio.sleep(0.01)
        return response


@contextlib.asynccontextmanager
async def serving(cluster: FakeCluster) -> AsyncIterator[FakeCluster]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", cluster.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    cluster.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield cluster
    finally:
        await runner.cleanup()


def kubeconfig(path: Path, url: str, *contexts: str) -> Path:
    """A kubeconfig whose contexts all mean this server."""
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "by-accident",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "t-1"}}],
                "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in contexts],
            }
        )
    )
    return path

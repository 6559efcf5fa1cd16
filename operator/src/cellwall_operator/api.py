"""The Kubernetes API as the few calls this operator makes; the only module that imports its client.

Decides paths, media types, time-outs and the field manager; never what to write or when. Objects are plain dicts (the
client's typed models refuse fields they do not know, and cost 60 MB). Every call either returns what the server now
has or raises one of `errors`. Invariant: every write is counted before it is sent.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any, Self, TypeAlias

import aiohttp
import msgspec
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration as Configuration  # also for `__main__`
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.dynamic import DynamicClient

from cellwall import __version__
from cellwall.resources import API_VERSION

from . import names
from .errors import Missing, Refused, border, told

APPLIER, CREATOR = (
    names.OPERATOR,
    f"{names.OPERATOR}-create",
)  # what is applied is ours for good, what is created is not
PAGE_OBJECTS = 500  # kubectl's own page: bounds a list's memory
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)  # research 03 §1.3; the client's own 300 s would stall a service

MERGE, STRATEGIC, APPLY = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)

Object: TypeAlias = dict[str, Any]


class Kind(msgspec.Struct, frozen=True):
    """A kind of object: what its manifests say, and the plural in its path."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """namespace None: of all namespaces."""
        root = "/api" if "/" not in self.api_version else "/apis"
        where = f"/namespaces/{namespace}" if namespace is not None else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}/{self.api_version}{where}/{self.plural}{tail}"


SERVICES = Kind(API_VERSION, "MetadataService", "metadataservices")
CELLS = Kind(API_VERSION, "MetadataCell", "metadatacells")
FLEETS = Kind(API_VERSION, "StorageFleet", "storagefleets")
OWN = (SERVICES, CELLS, FLEETS)
STATEFULSETS = Kind("apps/v1", "StatefulSet", "statefulsets")
DEPLOYMENTS = Kind("apps/v1", "Deployment", "deployments")
SVCS = Kind("v1", "Service", "services")
CONFIGMAPS = Kind("v1", "ConfigMap", "configmaps")
PODS = Kind("v1", "Pod", "pods")
JOBS = Kind("batch/v1", "Job", "jobs")
BUDGETS = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
CHILDREN = (STATEFULSETS, DEPLOYMENTS, SVCS, CONFIGMAPS, PODS, JOBS, BUDGETS)
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENTS = Kind("events.k8s.io/v1", "Event", "events")
CRDS = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
KINDS = {(kind.api_version, kind.kind): kind for kind in (*OWN, *CHILDREN, LEASES, EVENTS)}


def kind_of(manifest: Object) -> Kind:
    """The kind a manifest says it is."""
    kind = KINDS.get((manifest["apiVersion"], manifest["kind"]))
    if kind is None:
        raise Refused(f"kind: {manifest['apiVersion']} {manifest['kind']} is not one this operator writes")
    return kind


async def configured(kubeconfig: str | None, context: str | None) -> Configuration:
    """Inside a cluster its service account, unless a file or context is named; outside, what kubectl would use."""
    configuration = Configuration()
    try:
        if kubeconfig is None and context is None:
            try:
                load_incluster_config(configuration)
                return configuration
            except ConfigException:
                pass  # not in a cluster
        await load_kube_config(kubeconfig, context, configuration, persist_config=False)
    except (ConfigException, OSError) as error:
        which = f"context {context!r}" if context else "no context named"
        raise Refused(f"kubeconfig: {error} ({which}); see `kubectl config get-contexts`") from None
    return configuration


class Api:
    """``wrote(verb, plural)`` is called once for every write."""

    def __init__(self, configuration: Configuration, wrote: Callable[[str, str], None]) -> None:
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = f"cellwall-operator/{__version__}"
        self._dynamic = DynamicClient(self._client)  # not awaited: nothing to discover, the kinds are known
        self._wrote = wrote

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def session(self) -> tuple[str, aiohttp.ClientSession]:
        """The server's address, and a session of its own for the watcher, logged in as this client.

        Every request carries the token of that moment (a service account's changes by the hour): a watcher that is
        refused once gives up all its connections."""
        configuration = self._configuration

        async def authorized(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            if header := await configuration.get_api_key_with_prefix("BearerToken"):
                request.headers["Authorization"] = header
            return await handler(request)

        connector = aiohttp.TCPConnector(limit=0, ssl=self._client.rest_client.ssl_context)
        return configuration.host, aiohttp.ClientSession(connector=connector, middlewares=(authorized,))

    # ------------------------------------------------------------ reading

    async def version(self) -> tuple[int, int]:
        """The server's version: (1, 34)."""
        told = await self._ask("GET", "/version")
        return int(told["major"]), int("".join(itertools.takewhile(str.isdigit, told["minor"])))  # "34+" on some

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        return await self._ask("GET", kind.path(namespace, name))

    async def list(
        self, kind: Kind, namespace: str | None, selector: str | None = None
    ) -> AsyncIterator[tuple[list[Object], str]]:
        """Pages of objects, each with the version of the whole list, which is consistent."""
        token = None
        while True:
            page = await self._ask(
                "GET", kind.path(namespace), label_selector=selector, limit=PAGE_OBJECTS, _continue=token
            )
            metadata, items = page["metadata"], page.get("items") or []
            for item in items:  # a list says it once for all
                item.setdefault("apiVersion", kind.api_version)
                item.setdefault("kind", kind.kind)
            yield items, metadata["resourceVersion"]
            token = metadata.get("continue")
            if not token:
                return

    # ------------------------------------------------------------ writing

    async def create(self, manifest: Object) -> Object:
        kind, metadata = kind_of(manifest), manifest["metadata"]
        return await self._write("create", kind, "POST", kind.path(metadata["namespace"]), manifest)

    async def replace(self, manifest: Object) -> Object:
        """As it stands, if nobody has changed it since its resourceVersion."""
        kind, metadata = kind_of(manifest), manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        return await self._write("update", kind, "PUT", path, manifest)

    async def apply(self, manifest: Object, subresource: str | None = None) -> Object:
        """Server-side apply: what the manifest names becomes ours, what we named before and it does not goes away.

        With a resourceVersion in its metadata it is refused (`Conflict`) if the object has changed meanwhile."""
        kind, metadata = kind_of(manifest), manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"], subresource)
        plural = "/".join(filter(None, (kind.plural, subresource)))
        return await self._write(
            "patch", kind, "PATCH", path, manifest, plural, content_type=APPLY, force_conflicts=True
        )

    async def patch(
        self, kind: Kind, namespace: str, name: str, change: Object, subresource: str | None = None, how: str = MERGE
    ) -> Object:
        path = kind.path(namespace, name, subresource)
        plural = "/".join(filter(None, (kind.plural, subresource)))
        return await self._write("patch", kind, "PATCH", path, change, plural, content_type=how)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """With everything it owns, afterwards. ``uid``: only that one, not a namesake. Gone already: done."""
        options: Object = {"propagationPolicy": "Background"} | ({"preconditions": {"uid": uid}} if uid else {})
        with contextlib.suppress(Missing):
            await self._write("delete", kind, "DELETE", kind.path(namespace, name), options)

    # ------------------------------------------------------------ inside

    async def _write(
        self, verb: str, kind: Kind, method: str, path: str, body: Object, plural: str | None = None, **params: Any
    ) -> Object:
        self._wrote(verb, plural or kind.plural)
        if method != "DELETE":
            params["field_manager"] = APPLIER if params.get("content_type") == APPLY else CREATOR
        return await self._ask(method, path, body=body, **params)

    async def _ask(self, method: str, path: str, **params: Any) -> Object:
        doing = f"{method} {path}"
        with border(doing):
            try:
                response = await self._dynamic.request(
                    method, path, serialize=False, _request_timeout=TIMEOUT, **params
                )
                async with response:
                    answer: Object = msgspec.json.decode(await response.read())
            except ApiException as error:
                raise told(error.status, _message(error.body), doing) from None
            except ConfigException as error:  # the token's file cannot be read
                raise told(401, str(error), doing) from None
            except msgspec.DecodeError as error:
                raise told(502, f"not JSON ({error})", doing) from None
        return answer


def _message(body: str | bytes | None) -> str:
    """What a Status object says, or the beginning of whatever else came."""
    try:
        return str(msgspec.json.decode(body or b"")["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return (body.decode(errors="replace") if isinstance(body, bytes) else body or "")[:300]

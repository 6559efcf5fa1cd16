"""The API server of one cluster: requests, streams, and the only import of kubernetes in the lab.

Decides how a request is made and what its failure means; foreign errors end here. Never the current context by
accident: a context is named or nothing is asked. Invariant: what may have happened is Unknown, never a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
import yaml
from kubernetes.aio import config as kubeconfig
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.config_exception import ConfigException

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown

CALL_S = 10.0  # guess: a healthy API server answers in well under one
CONNECTIONS = (
    500  # one a followed pod and one a request in flight; the default of 100 would let the cut wait for records
)
SAID_BYTES = 2000  # of a refusal's body: a page of words, not a table
MERGE = "application/merge-patch+json"

Object = dict[str, Any]

logging.getLogger("kubernetes.aio").setLevel(logging.ERROR)  # what is missing is said in our words


class Answer(msgspec.Struct, frozen=True):
    """What came back, whatever it says."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def from_server(self) -> bool:
        """Whether the API server itself says it, and not a service behind it."""
        with contextlib.suppress(msgspec.DecodeError, AttributeError):
            said: Any = msgspec.json.decode(self.body)
            return bool(said.get("kind") == "Status" and said.get("apiVersion") == "v1")
        return False

    @property
    def said(self) -> str:
        """Its message, for people."""
        text = self.body[:SAID_BYTES].decode(errors="replace")
        if self.from_server:
            text = str(msgspec.json.decode(self.body).get("message") or text)
        return " ".join(text.split())


class Api:
    """A client of the cluster that a context names. Close it."""

    def __init__(self, context: str, client: ApiClient) -> None:
        self.context = context
        self._client = client
        self._refreshing: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, context: str) -> Api:
        """A client; nothing is asked of the cluster yet. Refused if there is no such context."""
        if not context:
            raise Refused(f"--context: missing; it must be one of {_known()}")
        configuration = Configuration(connection_pool_maxsize=CONNECTIONS)
        try:
            # Not persisted: a kubeconfig is its owner's.
            loader = await kubeconfig.load_kube_config(
                context=context, client_configuration=configuration, persist_config=False
            )
        except ConfigException:
            raise Refused(f"--context: {context!r} is not in the kubeconfig; it must be one of {_known()}") from None
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise Refused(f"--context: the kubeconfig cannot be used ({error})") from None
        api = cls(context, ApiClient(configuration))
        # A token that a program gives (a cloud's) lasts a quarter of an hour; a run may last longer.
        api._refreshing = asyncio.create_task(kubeconfig.kube_config.refresh_token(loader, configuration))
        return api

    @property
    def server(self) -> str:
        """The API server's host name or address."""
        return urlsplit(str(self._client.configuration.host)).hostname or ""

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        await self._client.close()

    # ------------------------------------------------------------ objects

    async def get(self, path: str, **query: str) -> Object:
        return await self._object("GET", path, query=query)

    async def find(self, path: str) -> Object | None:
        """An object, or None if there is none."""
        answer = await self.request("GET", path)
        return None if answer.status == 404 else _decoded("GET", path, answer)

    async def create(self, path: str, body: Object) -> Object:
        return await self._object("POST", path, body=body)

    async def patch(self, path: str, body: Object) -> Object:
        """A merge patch: null removes."""
        return await self._object("PATCH", path, body=body, kind=MERGE)

    async def delete(self, path: str, **query: str) -> None:
        """Gone already is as good."""
        answer = await self.request("DELETE", path, query=query or None)
        if answer.status != 404:
            _decoded("DELETE", path, answer)

    async def _object(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, kind: str = ""
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        return _decoded(method, path, await self.request(method, path, query=query, body=data, kind=kind))

    # ------------------------------------------------------------ requests

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        kind: str = "",
        timeout_s: float = CALL_S,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request with one deadline."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            response = await self._send(method, path, query, body, kind, timeout, headers)
            async with response:
                return Answer(response.status, response.headers, await response.read())
        except TimeoutError:
            raise Unknown(f"time-out: {method} {path} after {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"context {self.context}: {method} {path}: {error}") from None

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[bytes]]:
        """The whole lines of an endless answer, as many at a time as have come. Ends when the server ends it."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_S)
        try:
            response = await self._send("GET", path, query, None, "", timeout, None)
            async with response:
                if response.status >= 400:
                    _decoded("GET", path, Answer(response.status, response.headers, await response.read()))
                rest = b""
                async for data in response.content.iter_any():
                    *whole, rest = (rest + data).split(b"\n")
                    if whole:
                        yield whole
        except TimeoutError:
            raise Unavailable(f"context {self.context}: GET {path}: no connection within {CALL_S:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"context {self.context}: GET {path}: {error}") from None

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        kind: str,
        timeout: aiohttp.ClientTimeout,
        headers: Mapping[str, str] | None,
    ) -> aiohttp.ClientResponse:
        url = f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Accept": "application/json, */*", **(headers or {})}
        await self._client.update_params_for_auth(sent, [], ["BearerToken"], path, method, None)
        # The client's own session, with its certificates and proxies; not its `request`, which takes objects as JSON
        # only and knows no streams.
        rest = self._client.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()
        if body is not None:
            sent["Content-Type"] = kind or "application/json"
        name = self._client.configuration.tls_server_name
        more = {"server_hostname": name} if name else {}
        if rest.proxy:
            more |= {"proxy": rest.proxy, "proxy_headers": rest.proxy_headers}
        response: aiohttp.ClientResponse = await rest.pool_manager.request(
            method, url, data=body, headers=sent, timeout=timeout, **more
        )
        return response


def contexts() -> list[str]:
    """The contexts of the kubeconfig; none if there is no kubeconfig."""
    try:
        known, _ = kubeconfig.list_kube_config_contexts()
    except (ConfigException, OSError, ValueError, yaml.YAMLError, TypeError):
        return []
    return sorted(str(context["name"]) for context in known)


def _known() -> str:
    return ", ".join(contexts()) or "those of a kubeconfig, and there is none"


def _decoded(method: str, path: str, answer: Answer) -> Object:
    if answer.status >= 400:
        raise failure(f"{method} {path}", answer)
    try:
        found: Object = json.loads(answer.body or b"{}")
    except ValueError:
        raise Unavailable(f"{method} {path}: the answer is not JSON; is this an API server?") from None
    return found


def failure(what: str, answer: Answer) -> CellwallError:
    """What an error status of the API server means for the request."""
    text = f"{what}: {answer.status} {answer.said}"
    if answer.status == 504:
        return Unknown(text)
    # A conflict, too many requests, or a server that is starting: another try may succeed.
    return Unavailable(text) if answer.status in (409, 429) or answer.status >= 500 else Refused(text)

"""The API server through `kubectl proxy`: one process for hundreds of requests, and its own answers, word for word."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from cellwall.resources import GROUP, VERSION
from cellwall_operator.crds.definitions import KINDS

from .conftest import Cluster

PLURALS = {kind.kind: kind.plural for kind in KINDS}
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
ANSWER_S = 30.0


class Answer(NamedTuple):
    code: int
    body: dict[str, Any]

    @property
    def taken(self) -> bool:
        return self.code < 300

    @property
    def words(self) -> str:
        return str(self.body.get("message", ""))


class Api:
    """Requests to one namespace, as strict about unknown fields as kubectl is."""

    def __init__(self, address: str, namespace: str) -> None:
        self._address = address
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}"

    def elsewhere(self, namespace: str) -> Api:
        return Api(self._address, namespace)

    def create(self, manifest: dict[str, Any], *, manager: str = "test") -> Answer:
        return self._send("POST", PLURALS[manifest["kind"]], manifest, "application/json", False, fieldManager=manager)

    def try_to_create(self, manifest: dict[str, Any]) -> Answer:
        """Whether it would be taken, had nobody taken its name."""
        answer = self._send("POST", PLURALS[manifest["kind"]], manifest, "application/json", True)
        assert answer.code != 409, f"try it where it does not exist: {answer.words}"
        return answer

    def try_to_change(self, kind: str, name: str, patch: dict[str, Any]) -> Answer:
        return self._send("PATCH", f"{PLURALS[kind]}/{name}", patch, MERGE, True)

    def try_status(self, kind: str, name: str, spec: dict[str, Any], status: dict[str, Any]) -> Answer:
        """What would be kept if this whole status were written, with a spec that must not count."""
        while True:
            now = self.get(kind, name)
            whole = {**now, "spec": {**now["spec"], **spec}, "status": status}
            answer = self._send("PUT", f"{PLURALS[kind]}/{name}/status", whole, "application/json", True)
            if answer.code != 409:  # written by an operator in between
                return answer

    def apply(self, manifest: dict[str, Any], *, manager: str) -> Answer:
        path = f"{PLURALS[manifest['kind']]}/{manifest['metadata']['name']}"
        return self._send("PATCH", path, manifest, APPLY, False, fieldManager=manager, force="true")

    def get(self, kind: str, name: str) -> dict[str, Any]:
        answer = self._send("GET", f"{PLURALS[kind]}/{name}", None, "application/json", False)
        assert answer.taken, answer.words
        return answer.body

    def delete(self, kind: str, name: str) -> None:
        self._send("DELETE", f"{PLURALS[kind]}/{name}", None, "application/json", False)

    def _send(self, method: str, path: str, body: Any, media: str, dry: bool, **options: str) -> Answer:
        if method in ("POST", "PUT", "PATCH"):
            options["fieldValidation"] = "Strict"
        if dry:
            options["dryRun"] = "All"
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=ANSWER_S)) as connection:
            connection.request(
                method,
                f"{self._path}/{path}?{urlencode(options)}",
                None if body is None else json.dumps(body),
                {"Content-Type": media},
            )
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))


@contextlib.contextmanager
def proxied(cluster: Cluster, namespace: str) -> Iterator[Api]:
    """An `Api` as long as the context lasts."""
    with proxy(cluster) as address:
        yield Api(address, namespace)


@contextlib.contextmanager
def proxy(cluster: Cluster) -> Iterator[str]:
    """The address, "127.0.0.1:port", at which the API server answers without asking who it is."""
    command = ["kubectl", "--context", cluster.context, "proxy", "--port=0"]
    with subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", line)
            assert found is not None, f"kubectl proxy said {line!r}"
            yield urlsplit(f"//{found[0]}").netloc
        finally:
            process.terminate()

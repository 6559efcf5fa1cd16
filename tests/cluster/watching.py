"""Watching a world while groups move: every version of the published map, and what the cells say they hold."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from cellwall import labels
from cellwall.model import CellMap, ServerId
from cellwall.moves import Holding, Request

from .crd_api import proxy
from .world import NAME, World

LOOK_EVERY_S = 0.3
ANSWER_S = 10.0


@contextlib.contextmanager
def published(world: World) -> Iterator[list[CellMap]]:
    """Every state of the map's ConfigMap, from the one there is now on, as the API server tells it. Grows till the end
    of the context."""
    context = ["--context", world.cluster.context, "--namespace", world.namespace]
    command = ["kubectl", *context, "get", "configmap", labels.cell_map(NAME), "--watch", "--output=json"]
    seen: list[CellMap] = []
    with subprocess.Popen(command, env=world.cluster.environment, stdout=subprocess.PIPE, text=True) as watch:
        reader = threading.Thread(target=_read, args=(watch, seen))
        reader.start()
        try:
            yield seen
        finally:
            watch.terminate()
            reader.join()


def _read(watch: subprocess.Popen[str], seen: list[CellMap]) -> None:
    """kubectl prints one object after the other, each with its last brace on a line of its own."""
    assert watch.stdout is not None
    text = ""
    for line in watch.stdout:
        text += line
        if line == "}\n":
            seen.append(msgspec.json.decode(json.loads(text)["data"]["map.json"], type=CellMap))
            text = ""


class Look(NamedTuple):
    """What each cell that answered said of each server: its phase, at some instant between the two."""

    from_s: float
    to_s: float
    phases: Mapping[str, Mapping[ServerId, str]]

    def who(self, *phases: str) -> dict[ServerId, list[str]]:
        """The cells in which a server is in one of these phases."""
        servers = {server for told in self.phases.values() for server in told}
        return {s: [cell for cell, told in self.phases.items() if told.get(s) in phases] for s in servers}


@contextlib.contextmanager
def holdings(world: World, cells: Sequence[int], servers: Sequence[ServerId]) -> Iterator[list[Look]]:
    """Looks at what these cells hold, one after the other till the end of the context."""
    looks: list[Look] = []
    stop = threading.Event()
    with proxy(world.cluster) as address:
        looker = threading.Thread(target=_look_on, args=(world.namespace, address, cells, servers, looks, stop))
        looker.start()
        try:
            yield looks
        finally:
            stop.set()
            looker.join()


def _look_on(
    namespace: str, address: str, cells: Sequence[int], servers: Sequence[ServerId], looks: list[Look],
    stop: threading.Event,
) -> None:  # fmt: skip
    while not stop.wait(LOOK_EVERY_S):
        from_s = time.monotonic()
        told = {f"cell-{cell}": _held(namespace, address, cell, servers) for cell in cells}
        phases = {
            cell: {s: copy.phase for s, copy in held.copies.items()} for cell, held in told.items() if held is not None
        }
        looks.append(Look(from_s, time.monotonic(), phases))


def _held(namespace: str, address: str, cell: int, servers: Sequence[ServerId]) -> Holding | None:
    """None: there is no such cell, or nobody answers for it."""
    service = f"{labels.admin(f'{NAME}-cell-{cell}')}:{labels.ADMIN_PORT}"
    path = f"/api/v1/namespaces/{namespace}/services/{service}/proxy/groups/look"
    try:
        with contextlib.closing(http.client.HTTPConnection(address, timeout=ANSWER_S)) as connection:
            connection.request("POST", path, msgspec.json.encode(Request(0, list(servers))))
            response = connection.getresponse()
            body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    return msgspec.json.decode(body, type=Holding) if response.status == 200 else None

"""A namespace of one run's own with its world installed, and the end of both.

Decides their life: made, labelled with the run and an expiry, installed, removed whatever happens; and removes those of
earlier runs whose expiry has passed (a run that was killed). Invariant: it deletes only namespaces that carry the run
label, and never one whose expiry is to come but its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cellwall.errors import CellwallError, Unavailable, Unknown

from ..config import ArmConfig
from . import helm, names
from .api import Api, Object

EXPIRES_S = 3 * 3600  # guess: six arms of the reference set take under two hours; renewed by nobody
GONE_S = 120.0  # guess: 60 pods with a grace of 10 s, on two cores
POLL_S = 0.5
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


class Release:
    """One run's namespace and release. `close` removes what there is of them."""

    def __init__(self, api: Api, config: ArmConfig) -> None:
        number = int(time.time()) ^ os.getpid() << 12  # no chance: two runs of one second are two processes
        self.namespace = names.namespace_of(config.arm, config.seed, number)
        self._api, self._config = api, config
        self._made = self._installed = False

    async def install(self, values: dict[str, Any]) -> None:
        """The namespace, and the chart in it. Nothing has started yet when it returns."""
        path = Path(self._config.out) / "configs" / "values.json"  # JSON is YAML
        path.write_bytes(msgspec.json.format(msgspec.json.encode(values)) + b"\n")
        try:
            await self._api.create(names.NAMESPACES, _namespace(self.namespace, self._config, time.time()))
        except (Unknown, asyncio.CancelledError):  # it may be there; one that was there before is somebody else's
            self._made = True
            raise
        self._made = True
        self._installed = True
        await helm.install(self._api.context, self.namespace, path)

    async def begin_end(self) -> None:
        """Ask for everything to end. What does not is the namespace's deletion to end."""
        if self._installed:
            self._installed = False
            with contextlib.suppress(CellwallError):
                await helm.uninstall(self._api.context, self.namespace)

    async def close(self) -> None:
        """Delete the namespace and wait until it is gone; say so if it is not."""
        await self.begin_end()
        if not self._made:
            return
        self._made = False
        path = names.namespace(self.namespace)
        try:
            await self._api.delete(path)
            end_s = time.monotonic() + GONE_S
            while await self._api.find(path) is not None:
                if time.monotonic() > end_s:
                    raise Unavailable(f"still there after {GONE_S:g} s")
                await asyncio.sleep(POLL_S)
        except CellwallError as error:
            command = f"kubectl --context {self._api.context} delete namespace {self.namespace}"
            print(f"cellwall: namespace {self.namespace}: {error}; remove it by `{command}`", file=sys.stderr)


def _namespace(name: str, config: ArmConfig, now_s: float) -> Object:
    labels = {"app.kubernetes.io/managed-by": "cellwall", names.PART_OF: "cellwall", **RESTRICTED}
    labels[names.RUN_LABEL] = f"{config.arm}-{config.seed}"[: names.NAME_MAX].strip("-_.")
    expires = datetime.fromtimestamp(now_s + EXPIRES_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels, "annotations": {names.EXPIRES: expires}},
    }


def expired(namespaces: list[Object], now_s: float) -> list[str]:
    """Names of those that runs have left behind. One without a readable expiry is left alone."""
    found = []
    for namespace in namespaces:
        meta = namespace["metadata"]
        text = meta.get("annotations", {}).get(names.EXPIRES, "")
        with contextlib.suppress(ValueError):
            until = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            if until.timestamp() < now_s and "deletionTimestamp" not in meta and names.RUN_LABEL in meta["labels"]:
                found.append(meta["name"])
    return found


async def sweep(api: Api) -> list[str]:
    """Delete what runs have left behind; returns the namespaces' names."""
    listed = await api.get(names.NAMESPACES, labelSelector=names.RUN_LABEL)
    left = expired(listed["items"], time.time())
    for name in left:
        await api.delete(names.namespace(name))
    return left

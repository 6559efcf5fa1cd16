"""One attempt at one more node of a cell: asked for, watched, and taken back unless it succeeded.

Decides from the cell's status how the operator's attempt ended. Left in place, the wish would be tried again every few
seconds: an operator's patience and not one attempt, and in a pause it would come true before anybody asks. Invariant:
afterwards the cell has one node more, or asks for as many as before.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from cellwall.errors import Unavailable, Unknown

from ...verbs import StepResult
from .api import Api, Object

POLL_S = 0.2


class Last(msgspec.Struct, frozen=True):
    """How a cell's last attempt ended; ``at`` tells it from the one before."""

    at: str
    outcome: str
    reason: str


def last(cell: Object) -> Last:
    said = cell.get("status", {}).get("capacity") or {}
    return Last(said.get("lastAttemptTime") or "", said.get("lastOutcome") or "", said.get("lastReason") or "")


async def attempt(api: Api, path: str, within_s: float) -> StepResult:
    """``path``: of the MetadataCell. ``within_s``: a pod's start and every administrative request of a join."""
    started_s = time.monotonic()
    found = await api.get(path)
    before, had = last(found), found["spec"]["nodes"]
    await api.patch(path, {"spec": {"nodes": had + 1}})
    done = False
    try:
        while (took_s := time.monotonic() - started_s) < within_s:
            await asyncio.sleep(POLL_S)
            try:
                found = await api.get(path)
            except (Unavailable, Unknown):  # one more look: the API server of a busy machine takes its time
                continue
            now = last(found)
            done = found.get("status", {}).get("nodes", 0) > had
            if done:
                return StepResult("done", took_s)
            if now.at != before.at and now.outcome not in ("", "done"):
                return StepResult("refused" if now.outcome == "refused" else "unknown", took_s, now.reason)
        raise Unknown(f"time-out: no attempt at another node was made within {within_s:.0f} s")
    finally:
        if not done:
            await api.patch(path, {"spec": {"nodes": had}})

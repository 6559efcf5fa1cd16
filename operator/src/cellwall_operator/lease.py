"""Who of several operators acts: the holder of a Lease.

Decides when to take, renew or give up the lease; never acts on anything else. Invariant: two hold it at once only if a
clock runs wrong by more than DURATION_S - GIVE_UP_S: a holder stops GIVE_UP_S after the start of its last successful
renewal, others wait DURATION_S after they have seen that renewal. Others' wall clocks are never compared: an observer
measures by its own monotonic clock how long a lease has not changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import msgspec

from .errors import CellwallError, Conflict, Missing

DURATION_S = 10.0  # with POLL_S it makes the fail-over after a crash at most 12.5 s; the bar is 15 s
RENEW_S = 3.0  # two tries fit before GIVE_UP_S
GIVE_UP_S = 8.0  # stop acting; 2 s before anybody else may begin
POLL_S = 2.0  # how often who waits looks
REQUEST_S = 2.5  # one read or write; on two busy cores an answer took 2 s now and then (measured)

log = logging.getLogger(__name__)


class Store(Protocol):
    """The three verbs of a Lease. `Missing` if it is not there, `Conflict` if it has changed meanwhile."""

    async def read(self) -> dict[str, Any]: ...
    async def create(self, spec: dict[str, Any]) -> dict[str, Any]: ...
    async def replace(self, lease: dict[str, Any]) -> dict[str, Any]: ...


class Seen(msgspec.Struct, frozen=True):
    """A lease as somebody saw it: who holds it, and since when (own clock) it has not changed."""

    holder: str
    version: str
    since_s: float
    duration_s: float


def see(lease: dict[str, Any], before: Seen | None, now_s: float) -> Seen:
    """What is known after this look: the clock starts anew whenever the lease has changed."""
    spec, version = lease.get("spec") or {}, lease["metadata"]["resourceVersion"]
    since_s = before.since_s if before is not None and before.version == version else now_s
    return Seen(spec.get("holderIdentity") or "", version, since_s, spec.get("leaseDurationSeconds") or DURATION_S)


def may_take(seen: Seen, identity: str, now_s: float) -> bool:
    """Nobody's, our own, or not renewed for its whole duration while we looked on."""
    return seen.holder in ("", identity) or now_s - seen.since_s >= seen.duration_s


class Elector:
    """Runs `lead` while this process holds the lease, and cancels it the moment it does not."""

    def __init__(self, store: Store, identity: str, monotonic: Callable[[], float]) -> None:
        self.leads = False
        self._store = store
        self._identity = identity
        self._monotonic = monotonic
        self._lease: dict[str, Any] | None = None  # as we wrote it last
        self._renewed_s = 0.0  # start of the last renewal that succeeded
        self._state: Literal["", "waits", "leads"] = ""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """For ever: wait for the lease, lead, and again. Gives the lease back when cancelled."""
        try:
            while True:
                await self._acquire()
                await self._lead(lead)
        finally:
            await self._release()

    async def _acquire(self) -> None:
        seen: Seen | None = None
        while True:
            try:
                async with asyncio.timeout(REQUEST_S):
                    started_s = self._monotonic()
                    seen = await self._try(seen, started_s)
                if self._lease is not None:
                    self._renewed_s = started_s
                    return
            except (CellwallError, TimeoutError) as error:
                log.warning("lease: cannot be read or taken: %s", str(error) or "no answer in time")
            if seen is not None and self._state != "waits":
                self._state = "waits"
                log.info("lease: held by %s; waiting", seen.holder)
            await asyncio.sleep(POLL_S)

    async def _try(self, seen: Seen | None, now_s: float) -> Seen | None:
        """One look, and the lease is ours if it may be and nobody was faster."""
        try:
            lease = await self._store.read()
        except Missing:
            with contextlib.suppress(Conflict):
                self._lease = await self._store.create(self._spec(0))
            return None
        seen = see(lease, seen, now_s)
        if may_take(seen, self._identity, now_s):
            changes = (lease.get("spec") or {}).get("leaseTransitions") or 0
            with contextlib.suppress(Conflict):
                spec = self._spec(changes + (seen.holder != self._identity))
                self._lease = await self._store.replace({**lease, "spec": spec})
        return seen

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        self.leads, self._state = True, "leads"
        log.info("lease: %s leads", self._identity)
        leading = asyncio.ensure_future(lead())
        try:
            while not (await asyncio.wait([leading], timeout=RENEW_S))[0] and await self._renew():
                pass
            if leading.done():
                leading.result()
        finally:
            self.leads = False
            leading.cancel()
            await asyncio.wait([leading])
        log.warning("lease: lost; %s does nothing until it has it again", self._identity)

    async def _renew(self) -> bool:
        """Renew, trying until GIVE_UP_S; False: it is somebody else's, or we do not know."""
        while self._lease is not None:
            left_s = self._renewed_s + GIVE_UP_S - self._monotonic()
            if left_s <= 0:
                self._lease = None
                break
            started_s = self._monotonic()
            try:
                async with asyncio.timeout(min(left_s, REQUEST_S)):
                    try:
                        changes = self._lease["spec"].get("leaseTransitions") or 0
                        self._lease = await self._store.replace({**self._lease, "spec": self._spec(changes)})
                    except Conflict:  # an earlier try of our own may have come through unheard: look before giving up
                        self._lease = await self._ours()
                        continue
                    except Missing:
                        self._lease = None
                        break
                self._renewed_s = started_s
                return True
            except (CellwallError, TimeoutError) as error:
                log.warning("lease: not renewed: %s", str(error) or "no answer in time")
                await asyncio.sleep(min(0.5, max(0.0, left_s)))
        return False

    async def _ours(self) -> dict[str, Any] | None:
        """The lease as it is now, if it is still ours."""
        lease = await self._store.read()
        return lease if (lease.get("spec") or {}).get("holderIdentity") == self._identity else None

    async def _release(self) -> None:
        """An orderly end needs no fail-over time: nobody's from now on."""
        if self._lease is not None:
            spec = {**self._spec(self._lease["spec"].get("leaseTransitions") or 0), "holderIdentity": ""}
            with contextlib.suppress(CellwallError, TimeoutError):
                async with asyncio.timeout(REQUEST_S):
                    await self._store.replace({**self._lease, "spec": spec})
            self._lease = None

    def _spec(self, changes: int) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION_S),
            "acquireTime": (self._lease or {}).get("spec", {}).get("acquireTime") or now,
            "renewTime": now,
            "leaseTransitions": changes,
        }

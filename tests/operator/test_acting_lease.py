"""Leader election: one leads, another takes over when it stops, and the first does nothing from then on."""

import asyncio
import time
from typing import Any

import pytest

from cellwall_operator import lease
from cellwall_operator.errors import Conflict, Missing, Unavailable, Unknown
from cellwall_operator.lease import Elector, Seen, may_take, see

SCALE = 40  # of all durations, so that a fail-over takes a quarter of a second


class Store:
    """The one lease. ``cut``: nothing comes through from that side."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.writes = 0

    def put(self, spec: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.writes += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.lease


class Side:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.cut = False
        self.deaf = False  # writes come through, their answers do not

    async def read(self) -> dict[str, Any]:
        self._reach()
        if self.store.lease is None:
            raise Missing("lease")
        return self.store.lease

    async def create(self, spec: dict[str, Any]) -> dict[str, Any]:
        self._reach()
        if self.store.lease is not None:
            raise Conflict("lease")
        return self._answer(self.store.put(spec))

    async def replace(self, body: dict[str, Any]) -> dict[str, Any]:
        self._reach()
        assert self.store.lease is not None
        if body["metadata"]["resourceVersion"] != self.store.lease["metadata"]["resourceVersion"]:
            raise Conflict("lease")
        return self._answer(self.store.put(body["spec"]))

    def _reach(self) -> None:
        if self.cut:
            raise Unavailable("cut off")

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.deaf:
            self.deaf = False
            raise Unknown("no answer in time")
        return body


class Candidate:
    def __init__(self, store: Store, name: str, acting: set[str]) -> None:
        self.side = Side(store)
        self.name = name
        self.acting = acting
        self.elector = Elector(self.side, name, time.monotonic)
        self.task = asyncio.create_task(self.elector.run(self._lead))

    async def _lead(self) -> None:
        assert not self.acting, "two act at once"
        self.acting.add(self.name)
        try:
            await asyncio.Event().wait()
        finally:
            self.acting.remove(self.name)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RENEW_S", "GIVE_UP_S", "POLL_S", "REQUEST_S"):
        monkeypatch.setattr(lease, name, getattr(lease, name) / SCALE)
    # What the lease says is in whole seconds; a look at it scales them.
    monkeypatch.setattr(lease, "may_take", lambda seen, who, now_s: may_take(scaled(seen), who, now_s))


def scaled(seen: Seen) -> Seen:
    return Seen(seen.holder, seen.version, seen.since_s, seen.duration_s / SCALE)


async def until(said: Any) -> None:
    async with asyncio.timeout(20):
        while not said():
            await asyncio.sleep(0.005)


def test_the_rule() -> None:
    body = {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 10}}
    first = see(body, None, 100.0)
    assert first == Seen("a", "7", 100.0, 10.0)
    assert see(body, first, 104.0).since_s == 100.0
    assert not may_take(see(body, first, 109.9), "b", 109.9)
    assert may_take(see(body, first, 110.0), "b", 110.0)
    assert may_take(first, "a", 100.0)  # one's own, from before a restart
    renewed = {**body, "metadata": {"resourceVersion": "8"}}
    assert see(renewed, first, 109.0).since_s == 109.0


def test_durations_keep_the_promise() -> None:
    """A holder stops before anybody else may begin, and a crash costs less than 15 s."""
    give_up_s, request_s, poll_s, renew_s = (
        getattr(lease, name) * SCALE for name in ("GIVE_UP_S", "REQUEST_S", "POLL_S", "RENEW_S")
    )
    assert give_up_s < lease.DURATION_S
    assert renew_s + request_s < give_up_s  # at least two tries
    assert lease.DURATION_S + poll_s + request_s < 15


async def test_the_first_leads_and_the_second_waits() -> None:
    store, acting = Store(), set[str]()
    a = Candidate(store, "a", acting)
    await until(lambda: acting == {"a"})
    b = Candidate(store, "b", acting)
    writes = store.writes
    await until(lambda: store.writes > writes + 2)
    assert acting == {"a"} and a.elector.leads and not b.elector.leads
    await a.end()
    await b.end()


async def test_a_release_hands_over_at_once() -> None:
    store, acting = Store(), set[str]()
    a = Candidate(store, "a", acting)
    await until(lambda: acting == {"a"})
    await a.end()
    assert store.lease is not None and store.lease["spec"]["holderIdentity"] == ""
    b = Candidate(store, "b", acting)
    await until(lambda: acting == {"b"})
    assert store.lease["spec"]["leaseTransitions"] == 1
    await b.end()


async def test_a_leader_that_is_cut_off_stops_before_the_other_begins() -> None:
    store, acting = Store(), set[str]()
    a = Candidate(store, "a", acting)
    await until(lambda: acting == {"a"})
    b = Candidate(store, "b", acting)
    a.side.cut = True
    await until(lambda: acting == {"b"})  # `_lead` asserts that they never overlap
    assert not a.elector.leads and not a.task.done()
    a.side.cut = False
    renewals = store.writes
    await until(lambda: store.writes > renewals + 2)
    assert acting == {"b"}
    await b.end()
    await until(lambda: acting == {"a"})
    await a.end()


async def test_an_unheard_renewal_is_no_loss() -> None:
    store, acting = Store(), set[str]()
    a = Candidate(store, "a", acting)
    await until(lambda: acting == {"a"})
    a.side.deaf = True
    await until(lambda: not a.side.deaf)
    writes = store.writes
    await until(lambda: store.writes > writes + 2)
    assert acting == {"a"} and store.lease is not None and store.lease["spec"]["leaseTransitions"] == 0
    await a.end()


async def test_a_lease_taken_by_force_ends_the_leadership() -> None:
    store, acting = Store(), set[str]()
    a = Candidate(store, "a", acting)
    await until(lambda: acting == {"a"})
    store.put({"holderIdentity": "thief", "leaseDurationSeconds": 10})
    await until(lambda: not acting)
    assert not a.elector.leads
    await a.end()
    assert store.lease is not None and store.lease["spec"]["holderIdentity"] == "thief"


async def test_a_bug_while_leading_is_not_hidden() -> None:
    elector = Elector(Side(Store()), "a", time.monotonic)

    async def broken() -> None:
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        await elector.run(broken)
    assert not elector.leads

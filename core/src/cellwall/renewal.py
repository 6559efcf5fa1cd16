"""The storage server's renewal agent: when to ask for the membership, and when to leave service.

Decides from (state, event, time, chance) the next state and the effects to carry out; never asks,
waits or reads a clock itself. Invariant I3: a server is available only while its last finished
renewal succeeded and its link is up, so nothing but an answer puts it (back) into service.

    out ──Retrieved──► verifying ──Verified──► in ──wake──► asking (still in) ──Retrieved──► …
     ▲                     │                    │                │
     └── failed / time-out ┴──── link lost ─────┴────────────────┘   out: ask again after the retry wait, for ever
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from .spec import RenewalPolicy, RetryPolicy


class Chance(Protocol):
    """Where random numbers come from: `random.Random`, or a simulation's own."""

    def random(self) -> float: ...


# ---------------------------------------------------------------- events


class Wake(msgspec.Struct, frozen=True):
    """The time asked for by `WakeAt` has come."""


class Retrieved(msgspec.Struct, frozen=True):
    """The membership of this server arrived in time and names this server."""

    attempt: int
    epoch: int


class Verified(msgspec.Struct, frozen=True):
    """Local data matches the membership: what was new is created, what was lacking is replicated."""

    attempt: int


class Failed(msgspec.Struct, frozen=True):
    """An attempt ended without a usable membership: time-out, unreachable, mismatch, verify."""

    attempt: int
    reason: str


class LinkLost(msgspec.Struct, frozen=True):
    """The server cannot be reached and cannot reach anybody."""


class Paced(msgspec.Struct, frozen=True):
    """The published map sets a time before which a server that is out does not ask (re-entry). ``then_s``: when
    its second renewal is due, should the next be its very first; see `entry`."""

    not_before_s: float
    then_s: float = 0.0


Event: TypeAlias = Wake | Retrieved | Verified | Failed | LinkLost | Paced

# ---------------------------------------------------------------- effects


class Ask(msgspec.Struct, frozen=True):
    """Send attempt number ``attempt``; give up after ``time_limit_s``."""

    attempt: int
    time_limit_s: float


class Verify(msgspec.Struct, frozen=True):
    """Compare the membership with the local store; create, replicate; then send `Verified` or `Failed`."""

    attempt: int


class SetAvailable(msgspec.Struct, frozen=True):
    """Enter or leave service (answer or refuse customers' requests)."""

    available: bool
    reason: str


class WakeAt(msgspec.Struct, frozen=True):
    """Send `Wake` at this time; replaces any earlier one."""

    at_s: float


Effect: TypeAlias = Ask | Verify | SetAvailable | WakeAt


class Agent(msgspec.Struct, frozen=True):
    """State of one server's agent. ``asking`` is the outstanding attempt or 0; ``failures`` in a row;
    ``paced_s`` the last `Paced` time: while out, no attempt starts before it. ``then_s``: when the second renewal
    of a server that never renewed is due; 0 once it has."""

    available: bool = False
    attempts: int = 0
    asking: int = 0
    epoch: int = 0
    failures: int = 0
    next_s: float = 0.0
    paced_s: float = 0.0
    then_s: float = 0.0


def step(agent: Agent, event: Event, now_s: float, policy: RenewalPolicy, rng: Chance) -> tuple[Agent, list[Effect]]:
    """One transition. Events about any attempt but the outstanding one change nothing (a late answer is void)."""
    match event:
        case Wake():
            if agent.asking or now_s < agent.next_s:
                return agent, [] if agent.asking else [WakeAt(agent.next_s)]
            attempt = agent.attempts + 1
            return _with(agent, attempts=attempt, asking=attempt), [Ask(attempt, policy.time_limit_s)]
        case Retrieved(attempt, epoch):
            if attempt != agent.asking:
                return agent, []
            if epoch < agent.epoch:
                return _fail(agent, "stale-epoch", now_s, policy, rng)
            return _with(agent, epoch=epoch), [Verify(attempt)]
        case Verified(attempt):
            if attempt != agent.asking:
                return agent, []
            next_s = agent.then_s if agent.then_s > now_s else now_s + period_s(policy, rng)
            effects: list[Effect] = [WakeAt(next_s)]
            if not agent.available:
                effects.append(SetAvailable(True, "renewed"))
            return _with(agent, available=True, asking=0, failures=0, next_s=next_s, then_s=0.0), effects
        case Failed(attempt, reason):
            if attempt != agent.asking:
                return agent, []
            return _fail(agent, reason, now_s, policy, rng)
        case LinkLost():
            return _fail(agent, "link-lost", now_s, policy, rng)
        case Paced(not_before_s, then_s):
            then_s = then_s if agent.epoch == 0 else 0.0  # only a server that never renewed
            # Kept even while asking or in service: should that attempt fail, the next one is held back too.
            if agent.available or agent.asking:
                return _with(agent, paced_s=not_before_s, then_s=then_s), []
            return _with(agent, next_s=not_before_s, paced_s=not_before_s, then_s=then_s), [WakeAt(not_before_s)]


def _fail(agent: Agent, reason: str, now_s: float, policy: RenewalPolicy, rng: Chance) -> tuple[Agent, list[Effect]]:
    next_s = max(now_s + retry_wait_s(policy.retry, agent.failures, rng), agent.paced_s)
    effects: list[Effect] = [WakeAt(next_s)]
    if agent.available:
        effects.append(SetAvailable(False, reason))
    return _with(agent, available=False, asking=0, failures=agent.failures + 1, next_s=next_s), effects


def _with(
    agent: Agent,
    *,
    available: bool | None = None,
    attempts: int | None = None,
    asking: int | None = None,
    epoch: int | None = None,
    failures: int | None = None,
    next_s: float | None = None,
    paced_s: float | None = None,
    then_s: float | None = None,
) -> Agent:
    # msgspec.structs.replace costs ten times as much; this runs once per event of every server.
    return Agent(
        agent.available if available is None else available,
        agent.attempts if attempts is None else attempts,
        agent.asking if asking is None else asking,
        agent.epoch if epoch is None else epoch,
        agent.failures if failures is None else failures,
        agent.next_s if next_s is None else next_s,
        agent.paced_s if paced_s is None else paced_s,
        agent.then_s if then_s is None else then_s,
    )


def period_s(policy: RenewalPolicy, rng: Chance) -> float:
    """Seconds until the next ordinary renewal. The jitter is a ratio: an absolute one vanishes at small periods."""
    return policy.renew_every_s * (1 + policy.jitter_ratio * (2 * rng.random() - 1))


def retry_wait_s(policy: RetryPolicy, failures: int, rng: Chance) -> float:
    """Seconds until the next attempt after ``failures`` earlier ones in a row. 2015: uniform, regardless of them."""
    return policy.wait_min_s + (policy.wait_max_s - policy.wait_min_s) * rng.random()


def entry(from_s: float, over_s: float, partition: int, partitions: int, policy: RenewalPolicy, rng: Chance) -> Paced:
    """When a server that is out may ask, in a paced entry: waves by metadata partition.

    Partition p's wave starts at from + over·p/P and lasts over/P; within it servers are spread evenly at random,
    so the whole fleet is let in over ``over_s`` seconds. A server's second renewal keeps the same place in a whole
    period after that: a fleet that enters within a third of a period would else ask within a third of it for ever.
    """
    place = (partition + rng.random()) / partitions
    return Paced(from_s + over_s * place, from_s + over_s + policy.renew_every_s * place)


def reentry_over_s(records: int, servers: int, c_record_s: float, c_request_s: float, cores: float) -> float:
    """How long a re-entry must take: 1.5 × the time to serve everybody once (research 07)."""
    return 1.5 * (records * c_record_s + servers * c_request_s) / cores

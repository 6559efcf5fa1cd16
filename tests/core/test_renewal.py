"""The renewal agent, driven by an adversary who chooses order, time and staleness of every event."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall.renewal import (
    Agent,
    Ask,
    Effect,
    Event,
    Failed,
    LinkLost,
    Paced,
    Retrieved,
    SetAvailable,
    Verified,
    Verify,
    Wake,
    WakeAt,
    entry,
    period_s,
    reentry_over_s,
    retry_wait_s,
    step,
)
from cellwall.spec import RenewalPolicy, RetryPolicy

POLICY = RenewalPolicy()

waits = st.floats(0.01, 5).flatmap(
    lambda low: st.floats(low, 10).map(lambda high: RetryPolicy(wait_min_s=low, wait_max_s=high))
)
policies = st.builds(
    RenewalPolicy,
    renew_every_s=st.floats(5, 60),
    jitter_ratio=st.floats(0, 0.9),
    time_limit_s=st.floats(0.1, 2),
    retry=waits,
)


class Move(msgspec.Struct, frozen=True):
    """What the adversary does next. ``age`` 0 means the newest attempt, 1 the one before, …"""

    kind: str
    after_s: float
    age: int
    epoch: int


class Seen(msgspec.Struct, frozen=True):
    event: Event
    now_s: float
    before: Agent
    after: Agent
    effects: list[Effect]


# "due" waits for the agent's own alarm, "answer" and "verified" are likely: else few runs reach service.
KINDS = ["due", "due", "answer", "answer", "verified", "verified", "failed", "early", "link", "paced"]
a_move = st.builds(
    Move,
    kind=st.sampled_from(KINDS),
    after_s=st.floats(0, 5),
    age=st.sampled_from([0, 0, 0, 1, 2]),
    epoch=st.integers(1, 3),
)
# A list strategy by itself draws about five; service, loss and recovery take more.
moves = st.integers(0, 40).flatmap(lambda length: st.lists(a_move, min_size=length, max_size=length))


def play(script: list[Move], policy: RenewalPolicy, seed: int) -> list[Seen]:
    rng, agent, now_s, seen = random.Random(seed), Agent(), 0.0, []
    for move in script:
        now_s += move.after_s
        attempt = max(1, agent.attempts - move.age)  # the numbers in `Ask` begin at 1
        event: Event
        match move.kind:
            case "due":
                now_s = max(now_s, agent.next_s)
                event = Wake()
            case "early":
                event = Wake()
            case "answer":
                event = Retrieved(attempt, move.epoch)
            case "verified":
                event = Verified(attempt)
            case "failed":
                event = Failed(attempt, "time-out")
            case "link":
                event = LinkLost()
            case _:
                event = Paced(now_s + move.after_s)
        after, effects = step(agent, event, now_s, policy, rng)
        seen.append(Seen(event, now_s, agent, after, effects))
        agent = after
    return seen


plays = st.builds(play, moves, policies, st.integers(0, 99))


class Twin:
    """The rule in its dumbest form: in service from the success of the attempt that was asked last
    until the next failure of one, or a lost link. It looks at effects and events, never at the agent."""

    def __init__(self) -> None:
        self.outstanding, self.epoch, self.available = 0, 0, False

    def see(self, seen: Seen) -> None:
        for effect in seen.effects:
            if isinstance(effect, Ask):
                self.outstanding = effect.attempt
        event = seen.event
        if isinstance(event, LinkLost):
            self.outstanding, self.available = 0, False
        if not isinstance(event, Retrieved | Verified | Failed) or event.attempt != self.outstanding:
            return
        if isinstance(event, Retrieved) and event.epoch >= self.epoch:
            self.epoch = event.epoch
            return
        self.outstanding, self.available = 0, isinstance(event, Verified)


@given(plays)
def test_only_an_answer_puts_a_server_into_service_and_only_until_it_fails(log: list[Seen]) -> None:
    """I3."""
    twin = Twin()
    for seen in log:
        twin.see(seen)
        assert seen.after.available == twin.available
        assert seen.after.asking == twin.outstanding


@given(plays)
def test_the_driver_is_told_of_every_change_and_only_of_changes(log: list[Seen]) -> None:
    for seen in log:
        told = [effect.available for effect in seen.effects if isinstance(effect, SetAvailable)]
        assert told == [seen.after.available] * (seen.before.available != seen.after.available)


@given(plays)
def test_a_late_answer_is_void(log: list[Seen]) -> None:
    for seen in log:
        if isinstance(seen.event, Retrieved | Verified | Failed) and seen.event.attempt != seen.before.asking:
            assert (seen.after, seen.effects) == (seen.before, [])


@given(plays)
def test_there_is_always_an_alarm_or_an_attempt(log: list[Seen]) -> None:
    """An agent without either would never ask again."""
    alarm_s: float | None = 0.0  # a driver wakes a new agent at once
    for seen in log:
        if isinstance(seen.event, Wake):
            alarm_s = None  # used up, even if the timer fired early
        alarms = [effect.at_s for effect in seen.effects if isinstance(effect, WakeAt)]
        assert len(alarms) <= 1
        alarm_s = alarms[0] if alarms else alarm_s
        assert seen.after.asking or alarm_s == seen.after.next_s


@given(plays)
def test_one_attempt_at_a_time_each_with_a_number_of_its_own(log: list[Seen]) -> None:
    asked = [effect.attempt for seen in log for effect in seen.effects if isinstance(effect, Ask)]
    assert asked == list(range(1, len(asked) + 1))
    for seen in log:
        if any(isinstance(effect, Ask) for effect in seen.effects):
            assert isinstance(seen.event, Wake)
            assert seen.before.asking == 0 and seen.now_s >= seen.before.next_s


@given(plays)
def test_the_epoch_never_goes_back(log: list[Seen]) -> None:
    for seen in log:
        assert seen.after.epoch >= seen.before.epoch
        verified = [effect for effect in seen.effects if isinstance(effect, Verify)]
        assert bool(verified) == (
            isinstance(seen.event, Retrieved)
            and seen.event.attempt == seen.before.asking
            and seen.event.epoch >= seen.before.epoch
        )


@given(plays)
def test_a_server_that_is_out_does_not_ask_before_its_paced_time(log: list[Seen]) -> None:
    not_before_s = 0.0
    for seen in log:
        if isinstance(seen.event, Paced):
            not_before_s = seen.event.not_before_s
        if any(isinstance(effect, Ask) for effect in seen.effects) and not seen.before.available:
            assert seen.now_s >= not_before_s


def test_pacing_holds_for_a_server_that_was_asking_when_it_came() -> None:
    rng = random.Random(1)
    agent, _ = step(Agent(), Wake(), 0.0, POLICY, rng)
    agent, _ = step(agent, Paced(30.0), 1.0, POLICY, rng)
    agent, effects = step(agent, Failed(1, "time-out"), 2.0, POLICY, rng)
    assert effects == [WakeAt(30.0)]
    agent, effects = step(agent, Wake(), 30.0, POLICY, rng)
    assert effects == [Ask(2, POLICY.time_limit_s)]


@given(policies, st.integers(0, 99), st.integers(1, 200))
def test_it_retries_for_ever_after_a_wait_within_the_policy(policy: RenewalPolicy, seed: int, failures: int) -> None:
    rng, agent, now_s = random.Random(seed), Agent(), 0.0
    for attempt in range(1, failures + 1):
        agent, effects = step(agent, Wake(), now_s, policy, rng)
        assert effects == [Ask(attempt, policy.time_limit_s)]
        now_s += policy.time_limit_s
        agent, effects = step(agent, Failed(attempt, "time-out"), now_s, policy, rng)
        assert agent.failures == attempt
        wait_s = agent.next_s - now_s
        assert policy.retry.wait_min_s - 1e-9 <= wait_s <= policy.retry.wait_max_s + 1e-9
        now_s = agent.next_s


@given(policies, st.integers(0, 99))
def test_after_a_success_it_rests_one_period(policy: RenewalPolicy, seed: int) -> None:
    rng = random.Random(seed)
    agent = Agent(attempts=1, asking=1, failures=7)
    agent, effects = step(agent, Retrieved(1, 1), 10.0, policy, rng)
    assert effects == [Verify(1)]
    agent, effects = step(agent, Verified(1), 11.0, policy, rng)
    assert effects == [WakeAt(agent.next_s), SetAvailable(True, "renewed")]
    assert agent.failures == 0
    low, high = 1 - policy.jitter_ratio, 1 + policy.jitter_ratio
    assert policy.renew_every_s * low - 1e-9 <= agent.next_s - 11.0 <= policy.renew_every_s * high + 1e-9


def test_only_the_very_first_renewal_is_followed_by_the_place_in_the_period() -> None:
    rng = random.Random(1)
    agent, _ = step(Agent(), Paced(10.0, then_s=47.0), 0.0, POLICY, rng)
    for attempt, (asked_s, next_s) in enumerate([(10.0, 47.0), (47.0, None)], 1):
        agent, _ = step(agent, Wake(), asked_s, POLICY, rng)
        agent, _ = step(agent, Retrieved(attempt, 1), asked_s + 0.1, POLICY, rng)
        agent, _ = step(agent, Verified(attempt), asked_s + 0.1, POLICY, rng)
        assert agent.next_s == next_s or (next_s is None and 18 <= agent.next_s - asked_s - 0.1 <= 22)
    agent, _ = step(agent, LinkLost(), 60.0, POLICY, rng)
    agent, _ = step(agent, Paced(70.0, then_s=99.0), 61.0, POLICY, rng)  # a re-entry, not a first start
    assert (agent.next_s, agent.then_s) == (70.0, 0.0)


@pytest.mark.parametrize(
    ("event", "reason"),
    [(Failed(2, "time-out"), "time-out"), (LinkLost(), "link-lost"), (Retrieved(2, 3), "stale-epoch")],
    ids=["time-out", "link lost", "stale epoch"],
)
def test_why_a_server_leaves_service(event: Event, reason: str) -> None:
    serving = Agent(available=True, attempts=2, asking=2, epoch=4)
    agent, effects = step(serving, event, 5.0, POLICY, random.Random(1))
    assert effects == [WakeAt(agent.next_s), SetAvailable(False, reason)]
    assert not agent.available and agent.asking == 0 and agent.failures == 1


@given(moves, policies, st.integers(0, 99))
def test_the_same_seed_gives_the_same_trace(script: list[Move], policy: RenewalPolicy, seed: int) -> None:
    assert play(script, policy, seed) == play(script, policy, seed)


def test_another_seed_gives_another_trace() -> None:
    """Else the property above would hold for an agent that ignores its chance."""
    assert len({period_s(POLICY, random.Random(seed)) for seed in range(20)}) > 10
    assert len({retry_wait_s(POLICY.retry, 0, random.Random(seed)) for seed in range(20)}) > 10


@given(st.floats(0, 1e9), st.floats(0, 600), st.integers(1, 64), st.integers(0, 99))
def test_the_waves_of_a_reentry_cover_its_time_and_nothing_else(
    from_s: float, over_s: float, partitions: int, seed: int
) -> None:
    rng, tolerance_s = random.Random(seed), 1e-6
    for partition in range(partitions):
        paced = entry(from_s, over_s, partition, partitions, POLICY, rng)
        slot = paced.not_before_s
        assert from_s - tolerance_s <= slot <= from_s + over_s + tolerance_s
        wave_s = over_s / partitions
        assert wave_s * partition - tolerance_s <= slot - from_s <= wave_s * (partition + 1) + tolerance_s
        if over_s > 1e-3:  # the second renewal: the same place in one whole period after the entry
            place = (slot - from_s) / over_s
            assert paced.then_s == pytest.approx(from_s + over_s + place * POLICY.renew_every_s)


def test_a_wave_spreads_its_servers_over_all_of_its_time() -> None:
    rng = random.Random(1)
    slots = sorted(
        entry(100.0, 40.0, 1, 4, POLICY, rng).not_before_s for _ in range(500)
    )  # the second quarter: 110 to 120
    gaps = [later - earlier for earlier, later in zip([110.0, *slots], [*slots, 120.0], strict=True)]
    assert max(gaps) < 0.3  # ln(500)/500 of 10 s is 0.12


def test_a_reentry_takes_half_as_long_again_as_serving_everybody_once() -> None:
    # 744,000 records at 8.5 µs and 800 requests at 0.5 ms on 0.44 core: 15.28 s of work
    assert reentry_over_s(744_000, 800, 8.5e-6, 0.5e-3, 0.44) == pytest.approx(1.5 * (6.324 + 0.4) / 0.44)

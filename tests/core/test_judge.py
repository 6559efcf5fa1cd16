"""Each claim holds on its story and falls with its sabotage; what is missing is unknown, never held."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall import judge, verdict
from cellwall.errors import Refused
from cellwall.history import (
    Audit,
    Availability,
    CpuLimit,
    Fault,
    HostSample,
    NodeSample,
    Phase,
    Record,
    Renewal,
    Request,
    Step,
    World,
)
from cellwall.judge.blast import poisson_upper
from cellwall.judge.spec import KINDS, default
from cellwall.series import read

from .test_judge_failures import LASTING

Records = list[Record]
Story = Callable[..., Records]
Sabotage = Callable[[Records], Records]

CUT, T0, STUCK, PAUSE, CAPACITY, RESUME, END = 1030.0, 1033.0, 1073.0, 1103.5, 1125.0, 1135.0, 1200.0

CURED = [
    "clean", "healthy-before", "trigger-bit", "no-fault-active", "dragged-in", "relapsed", "servers-out",
    "requests-failed", "stuck", "capacity-locked-out", "paused", "load-relieved", "cure-hurts", "capacity-added",
    "recovered", "no-write-lost",
]  # fmt: skip
VALID = ["clean", "healthy-before", "trigger-bit", "no-fault-active", "no-write-lost"]
STORIES = {
    "stuck": CURED,
    "healed": [*VALID, "healed", "recovered"],
    "contained": [*VALID, "contained"],
    "spread": [*VALID, "spread-hits-all", "metastable"],
}


def outcomes(records: Records, ids: Iterable[str]) -> dict[str, str]:
    found = judge.judge_arm(records, "monolith", [default(i, ["monolith"]) for i in ids])
    return {c.id: c.outcome for c in found.claims}


def drop(kind: type, **fields: Any) -> Sabotage:
    """Lose every record of a kind with these fields."""

    def hit(r: Record) -> bool:
        return isinstance(r, kind) and all(getattr(r, k) == v for k, v in fields.items())

    return lambda records: [r for r in records if not hit(r)]


def change(kind: type, where: Callable[[Any], bool], **fields: Any) -> Sabotage:
    """Replace fields (a function is given the record) of matching records."""

    def changed(r: Record) -> Record:
        if not isinstance(r, kind) or not where(r):
            return r
        return msgspec.structs.replace(r, **{k: v(r) if callable(v) else v for k, v in fields.items()})

    return lambda records: [changed(r) for r in records]


def add(*more: Record) -> Sabotage:
    return lambda records: [*records, *more]


def both(*steps: Sabotage) -> Sabotage:
    def run(records: Records) -> Records:
        for step in steps:
            records = step(records)
        return records

    return run


def flap(server: int, out_s: float, in_s: float) -> Sabotage:
    name = f"s-{server:04d}"
    return add(
        Availability(t=out_s, server=name, cell="cell-0", available=False),
        Availability(t=in_s, server=name, cell="cell-0", available=True),
    )


def renewal(server: int, t: float, **fields: Any) -> Record:
    base = {"cell": "cell-0", "outcome": "unknown", "waited_s": 2.0, "reason": "time-out"}
    return Renewal(t=t, server=f"s-{server:04d}", **(base | fields))


def step(name: str, t: float, outcome: str = "done", **fields: Any) -> Step:
    return Step(t=t, step=name, cell="*", outcome=outcome, **fields)  # type: ignore[arg-type]


def fault(state: str, t: float, kind: str = "weight") -> Fault:
    return Fault(t=t, id="f-9", fault=kind, state=state)  # type: ignore[arg-type]


def between(from_s: float, to_s: float) -> Callable[[Any], bool]:
    return lambda r: from_s <= r.t < to_s


def thin(from_s: float, to_s: float, keep: int) -> Sabotage:
    """Keep one request in ``keep`` of a window."""
    count = [0]

    def lost(r: Record) -> bool:
        if not isinstance(r, Request) or not from_s <= r.t < to_s:
            return False
        count[0] += 1
        return count[0] % keep != 0

    return lambda records: [r for r in records if not lost(r)]


FAIL = {"outcome": "refused", "value": 0}


# ---------------------------------------------------------------- the stories hold


@pytest.mark.parametrize("kind", STORIES)
def test_every_claim_of_a_story_holds(story: Story, kind: str) -> None:
    found = judge.judge_arm(story(kind), "monolith", [default(i, ["monolith"]) for i in STORIES[kind]])
    assert {c.id: (c.outcome, c.evidence) for c in found.claims if c.outcome != "held"} == {}
    assert found.outcome == "held"
    assert all(c.evidence and c.value is not None and c.text for c in found.claims)


CONTROLS = [
    ("healed", "stuck", {"servers-out", "requests-failed", "stuck", "dragged-in", "relapsed"}),
    ("stuck", "healed", {"healed"}),
    ("spread", "contained", {"healed", "recovered"}),
    ("contained", "spread", {"spread-hits-all", "metastable"}),
    ("healed", "spread", {"metastable"}),
]


@pytest.mark.parametrize(("kind", "other", "broken"), CONTROLS)
def test_the_control_comes_out_the_other_way(story: Story, kind: str, other: str, broken: set[str]) -> None:
    found = outcomes(story(kind), broken)
    assert {i for i, outcome in found.items() if outcome == "broken"} == broken


# ---------------------------------------------------------------- sabotage

PROBED = 1025.0  # of conftest
LARGE_SLOW = change(Renewal, lambda r: r.t < CUT and r.waited_s > 0.5, waited_s=1.5)
HOST_ROBBED = change(HostSample, lambda r: True, steal_ratio=0.3)

SABOTAGE: list[tuple[str, str, str, str, Sabotage]] = [
    # why, story, claim, outcome, sabotage
    ("large renewals too slow", "stuck", "clean", "unknown", LARGE_SLOW),
    ("large renewals slow beside the administrative request only", "stuck", "clean", "held",
     change(Renewal, lambda r: PROBED <= r.t < CUT, waited_s=1.5)),
    ("false time-out", "stuck", "clean", "unknown", add(renewal(3, 1015))),
    ("a server out while clean", "stuck", "clean", "unknown", flap(30, 1015, 1016)),
    ("robbed", "stuck", "clean", "unknown", HOST_ROBBED),
    ("starved by neighbours", "stuck", "clean", "unknown", change(NodeSample, lambda r: True, cpu_s=1.0)),
    ("the host became faster", "stuck", "clean", "unknown",
     change(NodeSample, lambda r: True, records=lambda r: round(1.6 * r.records))),
    ("the host became a little faster", "stuck", "clean", "held",
     change(NodeSample, lambda r: True, records=lambda r: round(1.2 * r.records))),
    ("faster, but the limit was given", "stuck", "clean", "held",
     both(change(NodeSample, lambda r: True, records=lambda r: round(1.6 * r.records)),
          change(World, lambda w: True, spec=lambda w: {**w.spec, "cpu": {**w.spec["cpu"], "total_cores": 0.4}}))),
    ("load late", "stuck", "clean", "unknown", change(Request, between(T0, 1040), late_s=0.05)),
    ("no steal on record", "stuck", "clean", "unknown", drop(HostSample)),
    ("no end", "stuck", "clean", "unknown", drop(Phase, name="end")),
    ("no receipt", "stuck", "clean", "unknown", change(Fault, lambda f: f.state == "off", receipt={})),
    ("errors before", "stuck", "healthy-before", "broken", change(Request, between(1012, 1013), **FAIL)),
    ("out before", "stuck", "healthy-before", "broken", flap(30, 1015, 1016)),
    ("slow probe", "stuck", "healthy-before", "broken", change(Step, lambda s: s.step == "admin-probe", took_s=2.5)),
    ("no probe", "stuck", "healthy-before", "unknown", drop(Step, step="admin-probe")),
    ("nothing refused", "stuck", "trigger-bit", "broken",
     change(Fault, lambda f: f.id == "cut-1" and f.state == "off", receipt={"refused": 0, "servers": 10})),
    ("half cut", "stuck", "trigger-bit", "broken",
     change(Fault, lambda f: f.id == "cut-1" and f.state == "off", receipt={"refused": 9, "servers": 5})),
    ("receipt says nothing", "stuck", "trigger-bit", "unknown",
     change(Fault, lambda f: f.id == "cut-1" and f.state == "off", receipt={"ok": True})),
    ("cut never removed", "stuck", "trigger-bit", "unknown", drop(Fault, id="cut-1", state="off")),
    ("fault left on", "stuck", "no-fault-active", "broken", add(fault("on", 1001))),
    ("fault later", "stuck", "no-fault-active", "broken", add(fault("on", 1150), fault("off", 1151))),
    ("fault without beginning", "stuck", "no-fault-active", "broken", add(fault("off", 1151))),
    ("fault before", "stuck", "no-fault-active", "held", add(fault("on", 1001), fault("off", 1009))),
    ("none dragged in", "stuck", "dragged-in", "broken",
     lambda rs: [r for r in rs if not (isinstance(r, Availability) and r.t > CUT and int(r.server[2:]) >= 10)]),
    ("targets unknown", "stuck", "dragged-in", "unknown", change(Fault, lambda f: True, targets=[])),
    ("none relapsed", "stuck", "relapsed", "broken",
     both(drop(Availability, server="s-0000", available=True), drop(Availability, server="s-0012", t=1052.0))),
    ("more out for a while", "stuck", "servers-out", "broken", both(*(flap(30 + i, 1080, 1089) for i in range(8)))),
    ("fewer errors for 5 s", "stuck", "requests-failed", "broken",
     change(Request, between(1083, 1088), outcome="done")),
    ("paused early", "stuck", "servers-out", "unknown", change(Phase, lambda p: p.name == "paused", t=1100.0)),
    ("marks of the pause contradict each other", "stuck", "load-relieved", "unknown",
     change(Phase, lambda p: p.name == "paused", t=1100.0)),
    ("marks of the resume contradict each other", "stuck", "cure-hurts", "unknown",
     change(Step, lambda s: s.step == "resume", t=RESUME + 3)),
    ("a window without requests", "stuck", "requests-failed", "unknown",
     lambda rs: [r for r in rs if not (isinstance(r, Request) and 1078 <= r.t < 1083)]),
    ("healed at the end", "stuck", "stuck", "broken",
     add(*(Availability(t=1102, server=f"s-{i:04d}", cell="cell-0", available=True) for i in range(22)))),
    ("fault kept on", "stuck", "stuck", "broken", add(fault("on", 1090), fault("off", 1091))),
    ("load fell", "stuck", "stuck", "broken", thin(T0, PAUSE, 2)),
    ("goodput for 5 s", "spread", "metastable", "broken", change(Request, between(1083, 1088), outcome="done")),
    ("fault kept on", "spread", "metastable", "broken", add(fault("on", 1090), fault("off", 1091))),
    ("load fell", "spread", "metastable", "broken", thin(T0, END, 2)),
    ("backlog drains", "spread", "metastable", "broken",
     change(NodeSample, between(1100, 1130), in_service=0, waiting=0)),
    ("watched too briefly", "spread", "metastable", "unknown", change(Phase, lambda p: p.name == "end", t=1110.0)),
    ("no samples", "spread", "metastable", "unknown", drop(NodeSample)),
    ("a window without requests", "spread", "metastable", "unknown",
     lambda rs: [r for r in rs if not (isinstance(r, Request) and 1078 <= r.t < 1083)]),
    ("an attempt succeeded", "stuck", "capacity-locked-out", "broken", add(step("add-capacity", 1100, took_s=2))),
    ("two attempts", "stuck", "capacity-locked-out", "unknown", drop(Step, step="add-capacity", t=STUCK + 2)),
    ("refused at once", "stuck", "capacity-locked-out", "broken",
     change(Step, lambda s: s.step == "add-capacity" and s.t < PAUSE, outcome="refused", reason="unreachable")),
    ("refused on the deadline", "stuck", "capacity-locked-out", "held",
     change(Step, lambda s: s.step == "add-capacity" and s.t < PAUSE, outcome="refused", reason="time-out")),
    ("lost connections", "stuck", "capacity-locked-out", "broken",
     change(Step, lambda s: s.step == "add-capacity" and s.t < PAUSE, reason="connection lost")),
    ("skipped attempts", "stuck", "capacity-locked-out", "unknown",
     change(Step, lambda s: s.step == "add-capacity" and s.t < PAUSE, skipped=True)),
    ("slow before", "stuck", "capacity-locked-out", "broken",
     change(Step, lambda s: s.step == "admin-probe", took_s=3.0)),
    ("slow pause", "stuck", "paused", "broken", change(Step, lambda s: s.step == "pause", took_s=2.5)),
    ("pause refused", "stuck", "paused", "broken", change(Step, lambda s: s.step == "pause", outcome="refused")),
    ("pause unknown", "stuck", "paused", "unknown", change(Step, lambda s: s.step == "pause", outcome="unknown")),
    ("load stays", "stuck", "load-relieved", "broken",
     change(CpuLimit, lambda c: c.t >= PAUSE, cpu_s=lambda c: c.cpu_s + 0.3 * (c.t - PAUSE))),
    ("load falls late", "stuck", "load-relieved", "broken",
     change(CpuLimit, lambda c: c.t >= PAUSE, cpu_s=lambda c: c.cpu_s + 0.3 * (min(c.t, 1112) - PAUSE))),
    ("a failed attempt's node", "stuck", "load-relieved", "held",
     add(*(CpuLimit(t=1080 + i, node="spare", limit_cores=0.4, cpu_s=0.4 * i, stopped_ratio=0) for i in range(9)))),
    ("samples end", "stuck", "load-relieved", "unknown",
     lambda rs: [r for r in rs if not (isinstance(r, CpuLimit) and r.t > PAUSE + 5)]),
    ("customers served in the pause", "stuck", "cure-hurts", "broken",
     change(Request, between(1130, 1132), outcome="done")),
    ("short pause", "stuck", "cure-hurts", "unknown", change(Phase, lambda p: p.name == "re-entry", t=1107.0)),
    ("capacity refused", "stuck", "capacity-added", "broken",
     change(Step, lambda s: s.step == "add-capacity", outcome="refused")),
    ("capacity added early", "stuck", "capacity-added", "held",
     both(drop(Step, step="add-capacity"), add(step("add-capacity", 1090)))),
    ("no attempt", "stuck", "capacity-added", "unknown", drop(Step, step="add-capacity")),
    ("capacity unknown", "stuck", "capacity-added", "unknown",
     change(Step, lambda s: s.step == "add-capacity", outcome="unknown")),
    ("errors at the end", "stuck", "recovered", "broken", change(Request, between(1190, 1191), **FAIL)),
    ("one still out", "stuck", "recovered", "broken",
     add(Availability(t=1190, server="s-0030", cell="cell-0", available=False))),
    ("watched too briefly", "stuck", "recovered", "unknown", change(Phase, lambda p: p.name == "end", t=1060.0)),
    ("never healed", "healed", "healed", "broken",
     add(Availability(t=1180, server="s-0030", cell="cell-0", available=False))),
    ("helped by a pause", "healed", "healed", "broken", add(step("pause", 1050), step("resume", 1060))),
    ("perhaps helped", "healed", "healed", "unknown", add(step("add-capacity", 1050, "unknown"))),
    ("no steps kept", "healed", "healed", "unknown", drop(Step)),
    ("nothing to heal from", "healed", "healed", "unknown",
     lambda rs: [r for r in rs if not (isinstance(r, Availability) and r.t >= CUT)]),
    ("a write lost", "stuck", "no-write-lost", "broken",
     change(Audit, lambda a: a.customer == "c-3", found=0)),
    ("a read went back", "stuck", "no-write-lost", "broken",
     change(Request, lambda r: r.customer == "c-3" and r.op == "get" and 1012 < r.t < 1014, value=0)),
    ("no audit", "stuck", "no-write-lost", "unknown", drop(Audit)),
    ("an audit failed", "stuck", "no-write-lost", "unknown",
     change(Audit, lambda a: a.customer == "c-3", outcome="unknown")),
    ("a key without audit", "stuck", "no-write-lost", "unknown", drop(Audit, customer="c-3")),
    ("customers elsewhere", "contained", "contained", "broken",
     change(Request, lambda r: r.customer == "c-11" and 1050 <= r.t < 1060, **FAIL)),
    ("renewals elsewhere", "contained", "contained", "broken",
     add(*(renewal(25, 1050 + i / 10, cell="cell-2") for i in range(11)))),
    ("no more than while clean", "contained", "contained", "held",
     add(renewal(25, 1012, cell="cell-2"), *(renewal(25, 1050 + i / 10, cell="cell-2") for i in range(11)))),
    ("nobody lives there", "contained", "contained", "unknown",
     change(World, lambda w: True, customers=lambda w: {c: ["cell-1"] for c in w.customers})),
    ("silent elsewhere", "contained", "contained", "unknown",
     lambda rs: [r for r in rs if not (isinstance(r, Request) and int(r.customer[2:]) >= 5)]),
    ("no renewals elsewhere", "contained", "contained", "unknown",
     lambda rs: [r for r in rs if not (isinstance(r, Renewal) and r.cell != "cell-0")]),
    ("one cell well", "spread", "spread-hits-all", "broken",
     lambda rs: [r for r in rs if not (isinstance(r, Availability) and r.cell == "cell-3" and r.t >= CUT)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "claim", "outcome", "sabotage"), [row[1:] for row in SABOTAGE], ids=[row[0] for row in SABOTAGE]
)
def test_each_sabotage_flips_its_claim(story: Story, kind: str, claim: str, outcome: str, sabotage: Sabotage) -> None:
    before = story(kind)
    assert outcomes(before, [claim])[claim] == "held"
    found = judge.judge_arm(sabotage(before), "monolith", [default(claim, ["monolith"])])
    (weighed,) = [c for c in found.claims if c.id == claim]
    assert weighed.outcome == outcome, weighed.evidence
    if claim == "clean" and outcome != "held":
        assert found.outcome == "unknown"


def test_more_load_is_noticed_too(story: Story) -> None:
    more = story(rate=lambda t: 1.3 if t >= T0 else 1.0)
    assert outcomes(more, ["stuck"])["stuck"] == "broken"


def test_no_claim_is_left_without_a_sabotage() -> None:
    assert {row[2] for row in SABOTAGE} | {"same-trigger", *LASTING} == KINDS.keys()


# ---------------------------------------------------------------- emptiness

LOSSES: dict[str, Sabotage] = {
    **{kind.__name__: drop(kind) for kind in (World, Fault, Renewal, Availability, Request, CpuLimit, Step, Audit)},
    **{f"phase {n}": drop(Phase, name=n) for n in ("clean", "stuck", "paused", "re-entry", "end")},
    "all phases": drop(Phase),
    "cut on": drop(Fault, id="cut-1", state="on"),
    "cut off": drop(Fault, id="cut-1", state="off"),
    "pause on": drop(Fault, id="pause-1", state="on"),
    **{f"step {n}": drop(Step, step=n) for n in ("admin-probe", "add-capacity", "pause", "resume")},
    **{
        f"requests {a:g}-{b:g}": lambda rs, a=a, b=b: [r for r in rs if not (isinstance(r, Request) and a <= r.t < b)]  # type: ignore[misc]
        for a, b in ((0, CUT), (T0, PAUSE), (PAUSE, RESUME), (1160, END + 1))
    },
    **{f"all after {t:g}": lambda rs, t=t: [r for r in rs if r.t < t] for t in (1020, CUT, 1050, 1090, 1120, 1180)},  # type: ignore[misc]
}


BEFORE: dict[tuple[str, str], tuple[Records, dict[str, str]]] = {}  # a start's records and outcomes, by its name


@settings(max_examples=150)
@given(
    start=st.sampled_from([("none", kind, "", "", lambda rs: rs) for kind in STORIES] + SABOTAGE),
    losses=st.lists(st.sampled_from(sorted(LOSSES)), min_size=1, max_size=3),
)
def test_losing_records_never_turns_broken_into_held(
    story: Story, start: tuple[str, str, str, str, Sabotage], losses: list[str]
) -> None:
    ids = [i for i in KINDS if i != "same-trigger"]
    if start[:2] not in BEFORE:
        whole = start[4](story(start[1]))
        BEFORE[start[:2]] = whole, outcomes(whole, ids)
    records, before = BEFORE[start[:2]]
    after = outcomes(both(*(LOSSES[name] for name in losses))(records), ids)
    for claim, outcome in before.items():
        assert not (outcome == "broken" and after[claim] == "held"), claim


def test_of_nothing_everything_is_unknown() -> None:
    assert set(outcomes([], [i for i in KINDS if i != "same-trigger"]).values()) == {"unknown"}


# ---------------------------------------------------------------- arms and experiments


def test_an_arm_is_judged_clean_even_if_the_file_does_not_say_so(story: Story) -> None:
    found = judge.judge_arm(HOST_ROBBED(story()), "monolith", [default("stuck", ["monolith"])])
    assert [(c.id, c.outcome) for c in found.claims] == [("clean", "unknown"), ("stuck", "held")]
    assert found.outcome == "unknown"


def test_an_arm_of_which_nothing_is_claimed_has_shown_nothing(story: Story) -> None:
    found = judge.judge_arm(story(), "monolith", [default("stuck", ["other"])])
    assert [c.outcome for c in found.claims] == ["held"] and found.outcome == "unknown"


def test_a_claim_may_concern_only_some_backends(story: Story) -> None:
    (claim,) = judge.claims([{"id": "no-write-lost", "backends": ["local"]}], ["monolith"])
    for backend, ids in (("local", ["clean", "no-write-lost"]), ("simulation", ["clean"])):
        records = drop(Audit)(story(backend=backend))
        assert [c.id for c in judge.judge_arm(records, "monolith", [claim]).claims] == ids


def test_no_steal_is_needed_of_a_simulation(story: Story) -> None:
    assert outcomes(drop(HostSample)(story(backend="simulation")), ["clean"]) == {"clean": "held"}


def test_a_history_of_another_arm_is_refused(story: Story) -> None:
    with pytest.raises(Refused, match="of arm 'monolith'; it must be of 'cells-4'"):
        judge.judge_arm(story(), "cells-4", [])


def test_an_experiment_is_judged_over_its_arms(story: Story) -> None:
    arms = ["monolith", "cells-4"]
    claims = judge.claims(
        [
            *({"id": i, "arms": ["monolith"]} for i in CURED),
            {"id": "contained", "arms": ["cells-4"], "text": "One cell"},
            {"id": "same-trigger"},
        ],
        arms,
    )
    runs = {"monolith": read(story()), "cells-4": read(story("contained", arm="cells-4"))}
    found = [judge.judge_arm(run, arm, claims) for arm, run in runs.items()]
    across = judge.judge_cross(runs, claims)
    assert across is not None and across.name == judge.ACROSS
    whole = verdict.conclude(verdict.opening("september-2015", "local", 1, arms), [*found, across], {}, {})
    assert {a.name: a.outcome for a in whole.arms} == {"monolith": "held", "cells-4": "held", judge.ACROSS: "held"}
    assert whole.outcome == "held" and verdict.decode(verdict.encode(whole)) == whole
    assert whole.arms[1].claims[1].text == "One cell"


def test_arms_under_another_trigger_prove_nothing(story: Story) -> None:
    claims = judge.claims([{"id": "same-trigger"}], ["monolith", "cells-4"])
    runs = {"monolith": read(story()), "cells-4": read(story("spread", arm="cells-4"))}
    broken = judge.judge_cross(runs, claims)
    missing = judge.judge_cross({"monolith": runs["monolith"]}, claims)
    assert broken is not None and broken.outcome == "broken"
    assert missing is not None and missing.claims[0].evidence == "no history of cells-4"
    assert judge.judge_cross(runs, []) is None


def test_judging_again_gives_the_same_bytes(story: Story) -> None:
    def once() -> bytes:
        claims = [default(i, ["monolith"]) for i in CURED]
        return msgspec.json.encode(judge.judge_arm(story(), "monolith", claims))

    assert once() == once()


# ---------------------------------------------------------------- statistics


@given(st.integers(0, 400))
def test_the_poisson_bound_is_where_so_few_become_unlikely(count: int) -> None:
    bound = poisson_upper(count)
    term = total = 1.0  # the twin: the plain sum, in units of exp(-bound)
    for k in range(1, count + 1):
        term *= bound / k
        total += term
    assert total * math.exp(-bound) == pytest.approx(0.05, rel=1e-6)


def test_the_poisson_bound_of_nothing_seen() -> None:
    assert poisson_upper(0) == pytest.approx(-math.log(0.05))
    assert poisson_upper(10) == pytest.approx(16.962, abs=1e-3)  # tables: half of chi-square(0.95, 22)
    assert poisson_upper(3000) == pytest.approx(3000 + 1.645 * math.sqrt(3000), rel=0.002)

"""No acknowledged write lost: the checker against a dumb twin, against honest registers, and against sabotage."""

import math
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall import registers
from cellwall.history import Audit, Record, Request

Story = Callable[..., list[Record]]


def op(kind: str, t: float, end: float, value: int = 0, outcome: str = "done") -> Request:
    return Request(  # type: ignore[arg-type]
        t=t, customer="c", table="t", partition=0, op=kind, outcome=outcome, latency_s=end - t, key="k", value=value
    )


def audit(t: float, acknowledged: int, found: int, outcome: str = "done") -> Audit:
    return Audit(  # type: ignore[arg-type]
        t=t, customer="c", table="t", key="k", acknowledged=acknowledged, found=found, outcome=outcome
    )


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("why", "ops"),
    [
        ("a read misses a write", [op("put", 0, 1, 1), op("get", 2, 3, 0)]),
        ("a read finds the write before", [op("put", 0, 1, 1), op("put", 2, 3, 2), op("get", 4, 5, 1)]),
        (
            "two reads see the write appear and vanish, before it is acknowledged",
            [op("put", 0, 1, 1), op("put", 2, 9, 2), op("get", 3, 4, 2), op("get", 5, 6, 1)],
        ),
        ("a refused write appears", [op("put", 0, 1, 1, "refused"), op("get", 2, 3, 1)]),
        ("a read from the future", [op("get", 0, 1, 1), op("put", 2, 3, 1)]),
        ("an eventual read from the future", [op("get-eventual", 0, 1, 1), op("put", 2, 3, 1)]),
        ("a deleted value returns", [op("put", 0, 1, 1), op("delete", 2, 3), op("get", 4, 5, 1)]),
        (
            "nothing found, though a later put was acknowledged after the delete",
            [op("put", 0, 1, 1), op("delete", 2, 3), op("put", 4, 5, 2), op("get", 6, 7, 0)],
        ),
    ],
)
def test_broken(why: str, ops: list[Request]) -> None:
    assert registers.check(ops, []).broken, why


@pytest.mark.parametrize(
    ("why", "ops", "found"),
    [
        ("an unknown write appears late", [op("put", 0, 1, 1, "unknown"), op("put", 2, 3, 2), op("get", 4, 5, 1)], 2),
        ("an unknown write never appears", [op("put", 0, 1, 1), op("put", 2, 3, 2, "unknown"), op("get", 4, 5, 1)], 1),
        (
            "an unknown write appears and vanishes",
            [op("put", 0, 1, 1), op("put", 2, 3, 2, "unknown"), op("get", 4, 5, 2), op("get", 6, 7, 1)],
            1,
        ),
        ("overlapping writes, either order", [op("put", 0, 5, 1), op("put", 1, 4, 2), op("get", 6, 7, 1)], 2),
        ("a read that overlaps the write", [op("put", 0, 1, 1), op("put", 2, 5, 2), op("get", 3, 6, 1)], 2),
        ("an eventual read is old", [op("put", 0, 1, 1), op("put", 2, 3, 2), op("get-eventual", 4, 5, 1)], 2),
        ("a failed read says nothing", [op("put", 0, 1, 1), op("get", 2, 3, 0, "unknown")], 1),
        ("an unknown delete", [op("put", 0, 1, 1), op("delete", 2, 3, 0, "unknown"), op("get", 4, 5, 0)], 1),
    ],
)
def test_allowed(why: str, ops: list[Request], found: int) -> None:
    acknowledged = max(o.value for o in ops if o.op == "put" and o.outcome == "done")
    result = registers.check(ops, [audit(99, acknowledged, found)])
    assert (result.broken, result.unknown) == ([], []), why


def test_the_audit_is_a_read() -> None:
    ops = [op("put", 0, 1, 1), op("put", 2, 3, 2)]
    assert registers.check(ops, [audit(9, 2, 2)]).broken == []
    (line,) = registers.check(ops, [audit(9, 2, 1)]).broken
    assert line == "c/t/k: the audit found write 1 although a later write was established"
    assert registers.check(ops, [audit(9, 2, 0)]).broken


@pytest.mark.parametrize(
    ("ops", "audits"),
    [
        ([op("put", 0, 1, 1)], []),
        ([op("put", 0, 1, 1)], [audit(9, 1, 0, "unknown")]),
        ([op("put", 0, 1, 1)], [audit(9, 1, 7)]),
        ([op("put", 0, 1, 1)], [audit(9, 2, 2)]),
        ([op("put", 0, 1, 1), op("put", 2, 3, 1)], [audit(9, 1, 1)]),
        ([op("put", 0, 1, 1), op("get", 2, 3, 8)], [audit(9, 1, 1)]),
        ([], [audit(9, 1, 1)]),
    ],
    ids=["no-audit", "audit-unknown", "found-unheard-of", "acknowledged-unheard-of", "number-twice", "read", "no-put"],
)
def test_gaps_are_unknown(ops: list[Request], audits: list[Audit]) -> None:
    found = registers.check(ops, audits)
    assert found.unknown and not found.broken


def test_a_whole_story_passes_and_keys_do_not_mix(story: Story) -> None:
    records = story()
    requests = [r for r in records if isinstance(r, Request)]
    audits = [r for r in records if isinstance(r, Audit)]
    found = registers.check(requests, audits)
    assert (found.broken, found.unknown, found.keys, found.audits) == ([], [], 20, 20)
    lost = msgspec.structs.replace(audits[3], found=1 if audits[3].found != 4 else 2)
    assert registers.check(requests, [*audits[:3], lost, *audits[4:]]).unknown  # a number of another key


# ---------------------------------------------------------------- properties

instants = st.integers(0, 20)


@st.composite
def histories(draw: st.DrawFn) -> list[Request]:
    """Any mixture at all, honest or not."""
    ops = []
    for number in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["put", "put", "get", "get", "get-eventual", "delete"]))
        start = draw(instants)
        value = number + 1 if kind == "put" else draw(st.integers(0, 8)) if kind != "delete" else 0
        outcome = draw(st.sampled_from(["done", "done", "done", "unknown", "refused"]))
        ops.append(op(kind, start, start + draw(st.integers(1, 8)), value, outcome))
    return ops


def end(o: Request) -> float:
    return math.inf if o.outcome == "unknown" else o.t + o.latency_s


def twin(ops: list[Request]) -> int:
    """The rule of the docstring, word for word, in four loops."""
    broken = 0
    reads = [o for o in ops if o.op in ("get", "get-eventual") and o.outcome == "done"]
    writes = [o for o in ops if o.op in ("put", "delete")]
    for read in reads:
        if read.value:
            sources = [w for w in writes if w.op == "put" and w.value == read.value]
            if not sources:
                continue
        else:
            sources = [w for w in writes if w.op == "delete" and w.outcome != "refused" and w.t <= end(read)]
            sources.append(op("put", -99, -98))
        if all(s.outcome == "refused" or s.t > end(read) for s in sources):
            broken += 1
            continue
        if read.op == "get-eventual":
            continue

        def beaten(source: Request, read: Request = read) -> bool:
            for w in writes:
                if w.outcome == "done" and w.t > end(source):
                    if end(w) < read.t:
                        return True
                    for other in reads:
                        if other.op == "get" and w.op == "put" and other.value == w.value and end(other) < read.t:
                            return True
            return False

        broken += all(beaten(s) for s in sources)
    return broken


@given(histories())
def test_agrees_with_its_dumb_twin(ops: list[Request]) -> None:
    assert len(registers.check(ops, []).broken) == twin(ops)


@st.composite
def honest(draw: st.DrawFn) -> list[Request]:
    """A register that takes each write and answers each read at one instant within its interval."""
    plan = []
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["put", "put", "get", "get", "delete"]))
        start, length = draw(instants), draw(st.integers(1, 8))
        outcome = draw(st.sampled_from(["done", "done", "unknown", "refused"])) if kind != "get" else "done"
        # An unknown write may take effect long after its caller gave up, or never.
        late = draw(st.integers(0, 30)) if outcome == "unknown" else 0
        point = start + (length + late) * draw(st.floats(0.01, 0.99))
        plan.append((point, number + 1, kind, start, start + length, outcome, draw(st.booleans())))
    value, ops = 0, []
    for _, number, kind, start, ended, outcome, happens in sorted(plan):
        if kind == "get":
            ops.append(op("get", start, ended, value))
            continue
        if outcome == "done" or (outcome == "unknown" and happens):
            value = number if kind == "put" else 0
        ops.append(op(kind, start, ended, number if kind == "put" else 0, outcome))
    return ops


@given(honest())
def test_never_accuses_an_honest_register(ops: list[Request]) -> None:
    found = registers.check(ops, [])
    assert found.broken == [] and not [line for line in found.unknown if "no audit" not in line]


@given(honest(), st.integers(40, 60))
def test_always_notices_a_write_lost_at_the_end(ops: list[Request], later: int) -> None:
    last = op("put", later, later + 1, 99)
    old = op("put", 30, 31, 98)
    ops = [*ops, old, last]
    assert registers.check(ops, [audit(later + 9, 99, 98)]).broken
    assert registers.check(ops, [audit(later + 9, 99, 99)]).broken == []

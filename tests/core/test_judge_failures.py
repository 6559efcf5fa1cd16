"""Failures that last: contained or not, felt or not, refused or believed; each claim has a story that breaks it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cellwall import judge
from cellwall.history import TRIGGERS, Availability, Fault, Record, Renewal, Request
from cellwall.judge.spec import default
from cellwall.moments import moments, read

Records = list[Record]
Story = Callable[..., Records]
CUT, T0 = 1030.0, 1033.0  # of conftest
LASTING = {"contained-throughout", "uncontained", "bit", "unnoticed", "wrong-epochs-refused"}  # judged here


def outcomes(records: Records, *ids: str) -> dict[str, str]:
    found = judge.judge_arm(records, "monolith", [default(i, ["monolith"]) for i in ids])
    return {c.id: c.outcome for c in found.claims if c.id in ids}


def changed(records: Records, kind: type, where: Callable[[Any], bool], **fields: Any) -> Records:
    return [msgspec.structs.replace(r, **fields) if isinstance(r, kind) and where(r) else r for r in records]


def struck_by(records: Records, kind: str, **receipt: Any) -> Records:
    """The same story, begun by another failure."""
    records = changed(records, Fault, lambda f: f.fault == "cut", fault=kind)
    return changed(records, Fault, lambda f: f.state == "on" and f.fault == kind, receipt=receipt)


@pytest.mark.parametrize("kind", sorted(TRIGGERS))
def test_any_failure_can_be_the_trigger(story: Story, kind: str) -> None:
    found = moments(read(struck_by(story("contained"), kind)))
    assert (found.cut_on_s, found.t0_s, len(found.targets)) == (CUT, T0, 10)


def test_a_failure_without_a_receipt_voids_the_run(story: Story) -> None:
    records = changed(struck_by(story("contained"), "kill"), Fault, lambda f: f.state == "off", receipt={})
    found = judge.judge_arm(records, "monolith", [default("bit", ["monolith"])])
    assert found.outcome == "unknown" and "the kill left no receipt" in found.claims[0].evidence


def test_what_stays_in_its_cell_is_contained_and_what_does_not_is_found(story: Story) -> None:
    both = ("contained-throughout", "uncontained")
    assert outcomes(struck_by(story("contained"), "kill"), *both) == dict(zip(both, ("held", "broken"), strict=True))
    elsewhere = changed(
        struck_by(story("contained"), "kill"),
        Request,
        lambda r: CUT <= r.t < T0 and r.customer == "c-19",  # while the failure lasts, and never after it
        outcome="refused",
        value=0,
    )
    assert outcomes(elsewhere, *both, "contained") == {
        "contained-throughout": "broken",
        "uncontained": "held",
        "contained": "held",
    }


def test_renewals_that_fail_elsewhere_alone_are_no_containment_either(story: Story) -> None:
    records = changed(
        story("contained"), Renewal, lambda r: r.cell == "cell-2" and r.t > CUT, outcome="unknown", reason="time-out"
    )
    both = ("contained-throughout", "uncontained")
    assert outcomes(records, *both) == dict(zip(both, ("broken", "held"), strict=True))


def test_where_there_is_no_elsewhere_neither_can_be_said(story: Story) -> None:
    both = ("contained-throughout", "uncontained")
    assert outcomes(story("spread"), *both) == dict.fromkeys(both, "unknown")
    assert outcomes(story(), *both) == dict.fromkeys(both, "unknown")


def test_a_failure_that_nobody_felt_shows_nothing(story: Story) -> None:
    assert outcomes(story("contained"), "bit") == {"bit": "held"}
    unfelt = [r for r in story("contained") if not (isinstance(r, Availability) and r.t >= CUT)]
    assert outcomes(unfelt, "bit") == {"bit": "broken"}


def test_customers_notice_or_do_not(story: Story) -> None:
    assert outcomes(story("contained"), "unnoticed") == {"unnoticed": "broken"}
    served = changed(story("contained"), Request, lambda r: r.outcome != "done", outcome="done")
    assert outcomes(served, "unnoticed") == {"unnoticed": "held"}
    assert outcomes([r for r in served if not isinstance(r, Request)], "unnoticed") == {"unnoticed": "unknown"}


def test_wrong_epochs_are_refused_every_one_while_the_release_is_out(story: Story) -> None:
    claim = "wrong-epochs-refused"
    records = struck_by(story("contained"), "release", expires_s=T0 - 1)

    def mine(since_s: float, to_s: float) -> Callable[[Renewal], bool]:
        return lambda r: r.cell == "cell-0" and since_s <= r.t < to_s

    records = [r for r in records if not (isinstance(r, Renewal) and mine(CUT - 2, T0)(r))]
    refused = [
        Renewal(t=CUT + 0.1 * n, server=f"s-{n:04d}", cell="cell-0", outcome="refused", waited_s=0.1, reason=reason)
        for n, reason in enumerate(("stale-epoch", "mismatch"))
    ]
    assert outcomes([*records, *refused], claim) == {claim: "held"}
    taken = Renewal(t=CUT + 1, server="s-0003", cell="cell-0", outcome="done", waited_s=0.1)
    assert outcomes([*records, *refused, taken], claim) == {claim: "broken"}
    late = msgspec.structs.replace(taken, t=T0 - 0.5)  # of a good node, which serves before the last bad one has gone
    assert outcomes([*records, *refused, late], claim) == {claim: "held"}
    assert outcomes(records, claim) == {claim: "broken"}, "nobody was asked to believe anything"
    assert outcomes(story("contained"), claim) == {claim: "unknown"}, "there was no release"

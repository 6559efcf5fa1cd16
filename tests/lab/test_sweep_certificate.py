"""The certificate of metastability on simulated arms: the monolith gets it, its controls do not."""

import asyncio

import pytest

from cellwall import judge
from cellwall.judge.spec import default
from cellwall_lab import verbs

from .simulated_arms import SCALED, Arm, R, cpu, make_spec

RELAXATIONS_S = 20 * 10.0  # the claim's defaults for a simulation


def certify(tmp_path, *settings, watch_s=2 * R + RELAXATIONS_S, load=1.0, **claim):
    """A simulated arm, cut and watched; what the certificate says of it."""
    arm = Arm(make_spec(SCALED, *settings), tmp_path)
    arm.do(verbs.MarkPhase(name="clean"))
    arm.wait(R)
    arm.strike()
    arm.do(verbs.Load(rps=load * arm.spec.load.rps))
    arm.wait(watch_s)
    arm.do(verbs.MarkPhase(name="end"))
    asyncio.run(arm.world.close())
    spec = default("metastable", ["arm"])
    spec.params.update(claim)
    found = judge.judge_arm(arm.world.records, "arm", [spec])
    return next(c for c in found.claims if c.id == "metastable")


def test_the_monolith_is_metastable(tmp_path):
    found = certify(tmp_path)
    assert found.outcome == "held", found.evidence
    assert 0.2 < found.value < 0.65, found.evidence


@pytest.mark.parametrize("control", [cpu(2.0), {"fleet": {"indexes": False}}], ids=["double-cpu", "half-membership"])
def test_its_controls_are_not(tmp_path, control):
    found = certify(tmp_path, control)
    assert found.outcome == "broken", found.evidence
    assert found.value > 0.9


def test_an_outage_under_more_load_is_no_proof(tmp_path):
    found = certify(tmp_path, load=1.6)
    assert found.outcome == "broken", found.evidence
    assert "offered load +" in found.evidence


def test_a_short_watch_proves_nothing(tmp_path):
    found = certify(tmp_path, watch_s=2 * R + RELAXATIONS_S - 10)
    assert (found.outcome, found.value) == ("unknown", None)
    assert "wait longer" in found.evidence
    assert certify(tmp_path, watch_s=2 * R + 60, relaxations=6).outcome == "held"

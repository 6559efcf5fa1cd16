"""Ten sabotaged runs: each ends with a non-zero status AND a complete verdict that names the reason, by `cellwall run`
and by `chaos run` with our control. Stock `chaos run` is held against docs/verdicts.md, which says what it makes of
them.
"""

import json
import re

import pytest

from .runs import ARM, until
from .sabotage import SABOTAGES, Sabotage, by_cellwall_run, by_chaos_run, by_stock_chaos_run, documented

BY_NAME = {sabotage.name: sabotage for sabotage in SABOTAGES}
named = pytest.mark.parametrize("name", BY_NAME)


def judged(home, sabotage: Sabotage):
    """The arm's claims, once its verdict names the reason: after SIGKILL the arm's own process writes it."""

    def claims():
        verdict = json.loads((home / "r" / "verdict.json").read_text())
        return next(arm["claims"] for arm in verdict["arms"] if arm["name"] == ARM)

    until(lambda: any(re.search(sabotage.reason, claim["evidence"]) for claim in claims()))
    return claims()


@named
@pytest.mark.parametrize("way", [by_cellwall_run, by_chaos_run])
def test_a_sabotaged_run_is_caught_and_says_why(home, monkeypatch, name, way):
    sabotage = BY_NAME[name]
    monkeypatch.setenv("FAKE_WORLD", sabotage.world)
    status = way(home, sabotage)
    if way is by_chaos_run:
        assert status == (-sabotage.signum if sabotage.signum == 9 else 1)
    elif sabotage.signum == 9:
        assert status == -9
    else:
        assert status == {"unknown": 3 if sabotage.refused else 2, "broken": 1}[sabotage.outcome]
    claims = judged(home, sabotage)
    verdict = json.loads((home / "r" / "verdict.json").read_text())
    assert verdict["outcome"] == sabotage.outcome
    assert all(arm["claims"] for arm in verdict["arms"])
    assert all(claim["evidence"] for claim in claims)
    guilty = [claim for claim in claims if re.search(sabotage.reason, claim["evidence"])]
    assert sabotage.outcome in {claim["outcome"] for claim in guilty}


@named
def test_stock_chaos_run_does_what_the_page_says(home, name):
    assert by_stock_chaos_run(home, BY_NAME[name]) == documented()[name]


def test_the_page_speaks_of_these_sabotages_and_no_others():
    assert list(documented()) == list(BY_NAME)


def test_what_was_put_right_may_run_in_the_same_folder(home, monkeypatch):
    monkeypatch.setenv("FAKE_WORLD", "heals")
    assert by_cellwall_run(home, BY_NAME["a misspelt key"]) == 3
    assert by_cellwall_run(home, Sabotage("none", "")) == 0
    assert by_cellwall_run(home, BY_NAME["a misspelt key"]) == 3  # which is held still, and stays what it was
    assert json.loads((home / "r" / "verdict.json").read_text())["outcome"] == "held"

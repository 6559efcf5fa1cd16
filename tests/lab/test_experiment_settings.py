"""Layers of settings, arms and the run's pace; every refusal in one line that names place and value."""

import pytest

from cellwall.errors import Refused
from cellwall_lab import experiment, settings
from cellwall_lab.verbs import Targets


@pytest.fixture(scope="module")
def shipped():
    return experiment.load("september-2015")


def test_precedence_base_then_arm_then_command_line(shipped):
    double = experiment.resolve(shipped, "double-cpu")
    assert double.spec.cpu.factor == 2.0
    assert double.spec.cpu.load_factor == 6.0  # base
    over = experiment.resolve(shipped, "double-cpu", overrides={"cpu.factor": 3}, seed=7)
    assert (over.spec.cpu.factor, over.spec.seed, over.seed) == (3.0, 7, 7)


def test_arms_differ_only_in_what_they_say(shipped):
    mono, cells = (experiment.resolve(shipped, arm, seed=3) for arm in ("monolith", "cells-4"))
    assert (mono.spec.cells, cells.spec.cells) == (1, 4)
    assert mono.targets == cells.targets == Targets(domain=0)  # the same servers cut
    assert mono.line == cells.line
    assert experiment.resolve(shipped, "half-membership").spec.fleet.indexes is False
    assert experiment.resolve(shipped, "zombies").spec.metadata.drop_abandoned is False
    assert experiment.resolve(shipped, "cells-4-spread").targets == Targets(spread=0.5)


def test_arms_keep_the_files_order_so_that_the_base_arm_calibrates(shipped):
    assert shipped.arms_named(["cells-4", "monolith"]) == ["monolith", "cells-4"]
    assert shipped.arms_named()[0] == "monolith"


def test_demo_pace_is_the_issues(shipped):
    line = experiment.resolve(shipped, "monolith").line
    assert (line.warm_up_s, line.cut_s, line.settle_s, line.stuck_s) == (20, 3, 40, 30)
    assert (line.attempts, line.pause_s, line.watch_s) == (3, 20 + 2 + 5, 40)


def test_pace_60_plays_the_event_minute_by_second(shipped):
    run = experiment.resolve(shipped, "monolith", overrides={"pace": 60})
    assert run.line.cut_s + run.line.settle_s == 18
    assert run.line.settle_s + run.line.cut_s + run.line.stuck_s == 167
    assert run.line.pause_s == 39
    assert run.line.watch_s >= 2 * run.spec.renewal.renew_every_s


def test_values_are_typed_by_the_setting():
    spec = settings.build(("--set", settings.parse(["cells=4", "fleet.indexes=false", "cpu.total_cores=null"])))
    assert (spec.cells, spec.fleet.indexes, spec.cpu.total_cores) == (4, False, None)
    ranges = settings.build(("--set", settings.parse(["fleet.large_range=[0.5, 1.5]", "load.rps=1e2"])))
    assert (ranges.fleet.large_range, ranges.load.rps) == ((0.5, 1.5), 100.0)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("cells", ["'cells'", "path=value"]),
        ("=4", ["path=value"]),
        ("cell=4", ["cell", "did you mean cells?"]),
        ("indexes=false", ["did you mean fleet.indexes?"]),
        ("fleet=3", ["fleet", "mapping"]),
        ("cells=many", ["cells", "'many'", "whole number"]),
        ("cells=1.5", ["cells", "1.5", "whole number"]),
        ("fleet.indexes=maybe", ["fleet.indexes", "'maybe'", "true or false"]),
        ("placement=random", ["placement", "'random'", "aligned or striped or shuffle"]),
        ("fleet.large_range=[1]", ["fleet.large_range", "[1]", "[a number, a number]"]),
        ("fleet.large_range=[1, x]", ["fleet.large_range", "[a number, a number]"]),
        ("renewal.time_limit_s=.inf", ["renewal.time_limit_s", "inf", "finite"]),
        ("load.rps=.nan", ["load.rps", "nan", "finite"]),
        ("cells={", ["cells"]),
        ("renewal.time_limit_s=12", ["renewal.renew_every_s", "20", "timing rule"]),
        ("fleet.zones=2", ["fleet.zones", "2", "three zones"]),
        ("cells=16", ["cells", "16", "too small", "--force"]),
        ("pace=fast", ["pace", "'fast'", "demo"]),
        ("pace=0", ["pace", "0"]),
        ("pace=200", ["pace", "200", "<= 106"]),
        ("pace=true", ["pace", "True"]),
    ],
)
def test_bad_settings_are_refused_in_one_line(shipped, assignment, words):
    with pytest.raises(Refused) as refusal:
        experiment.resolve(shipped, "monolith", overrides=settings.parse([assignment]))
    text = str(refusal.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_force_turns_the_size_rule_into_a_warning(shipped):
    run = experiment.resolve(shipped, "monolith", overrides={"cells": 16}, force=True)
    assert "too small" in run.warnings[0]


def test_unknown_arm_names_the_arms(shipped):
    with pytest.raises(Refused, match=r"'nowhere'.*monolith, cells-4"):
        experiment.resolve(shipped, "nowhere")

"""Every way in which an experiment file can be wrong, each with one line that names place and value."""

import copy

import pytest

from cellwall_lab import experiment
from cellwall_lab.lint import problems

NAME = "september-2015"
DOCUMENT = experiment.read(experiment.FOLDER / f"{NAME}.yaml")


def test_the_shipped_experiments_are_right():
    for path in experiment.FOLDER.glob("*.yaml"):
        assert problems(experiment.read(path), path.stem) == []


def _method(key, value, number=1):
    def change(document):
        document["method"][number][key] = value

    return change


def _arguments(value, number=1):
    def change(document):
        document["method"][number]["provider"]["arguments"] = value

    return change


def _extension(key, value):
    def change(document):
        document["extensions"][0][key] = value

    return change


def _arm(key, value):
    def change(document):
        document["extensions"][0]["arms"]["monolith"][key] = value

    return change


def _set(key, value):
    return lambda document: document.__setitem__(key, value)


def _drop(key):
    return lambda document: document.pop(key)


TABLE = {
    "typo at the top": (_set("rollback", []), ["rollback", "rollbacks"]),
    "no method": (_drop("method"), ["method", "missing"]),
    "no rollbacks": (_drop("rollbacks"), ["rollbacks", "missing"]),
    "no hypothesis": (_drop("steady-state-hypothesis"), ["steady-state-hypothesis", "missing"]),
    "no runtime": (_drop("runtime"), ["runtime", "missing"]),
    "empty method": (_set("method", []), ["method", "empty"]),
    "method is a word": (_set("method", "wait"), ["method", "'wait'"]),
    "pauses": (_method("pauses", {"after": 5}), ["method[1].pauses", "{'after': 5}", "`wait`"]),
    "background": (_method("background", True), ["method[1].background", "True"]),
    "activity's own controls": (_method("controls", []), ["method[1].controls"]),
    "process provider": (
        _method("provider", {"type": "process", "path": "sleep"}),
        ["method[1].provider.type", "'process'", "python"],
    ),
    "http provider": (_method("provider", {"type": "http", "url": "x"}), ["method[1].provider.type", "'http'"]),
    "unknown key in an activity": (_method("tollerance", 0), ["method[1].tollerance", "unknown key"]),
    "unknown function": (
        lambda d: d["method"][1]["provider"].__setitem__("func", "wiat"),
        ["method[1]", "'wiat'", "did you mean wait?"],
    ),
    "wrong argument": (_arguments({"fors": 3}), ["method[1]", "fors"]),
    "wait for both": (_arguments({"for_s": 3, "until": "clean", "deadline_s": 4}), ["method[1]", "one of them"]),
    "wait for nothing": (_arguments({}), ["method[1]", "neither"]),
    "wait without end": (_arguments({"until": "clean"}), ["deadline_s", "missing"]),
    "wait for the unknown": (_arguments({"until": "better", "deadline_s": 4}), ["'better'", "recovered"]),
    "unknown variable": (_arguments({"for_s": "${warmup_s}"}), ["${warmup_s}", "${warm_up_s}"]),
    "probe without tolerance": (
        lambda d: d["steady-state-hypothesis"]["probes"][0].pop("tolerance"),
        ["steady-state-hypothesis.probes[0]", "tolerance", "missing"],
    ),
    "rollbacks not always": (
        lambda d: d["runtime"]["rollbacks"].__setitem__("strategy", "default"),
        ["runtime.rollbacks.strategy", "'default'", "always"],
    ),
    "hypothesis after the method": (
        lambda d: d["runtime"]["hypothesis"].__setitem__("strategy", "default"),
        ["runtime.hypothesis.strategy", "'default'", "before-method-only"],
    ),
    "no control": (_set("controls", []), ["controls", "cellwall_lab.chaos.control"]),
    "parameter missing": (lambda d: d["configuration"].pop("out"), ["configuration.out", "missing"]),
    "default arm unknown": (
        lambda d: d["configuration"]["arm"].__setitem__("default", "mono"),
        ["configuration.arm", "'mono'", "monolith"],
    ),
    "no extension": (_set("extensions", []), ["extensions", "cellwall"]),
    "other schema": (_extension("schema", 2), ["schema", "2", "1"]),
    "unknown key in the extension": (_extension("arm", {}), ["arm", "unknown key"]),
    "other file's name": (_extension("experiment", "october-2015"), ["'october-2015'", NAME]),
    "no arms": (_extension("arms", {}), ["arms", "empty"]),
    "bad base": (_extension("base", {"cels": 1}), ["base", "cels", "did you mean cells?"]),
    "bad base type": (_extension("base", {"fleet": {"servers": "many"}}), ["base", "fleet.servers", "'many'"]),
    "unknown key in an arm": (_arm("runbok", "none"), ["runbok", "unknown key"]),
    "unknown runbook": (_arm("runbook", "by-foot"), ["runbook", "by-hand-2015"]),
    "bad setting in an arm": (_arm("set", {"cells": 0}), ["arms.monolith", "cells", "0", ">= 1"]),
    "unknown setting in an arm": (_arm("set", {"cpu.fator": 2}), ["arms.monolith", "cpu.fator", "cpu.factor"]),
    "timing rule": (_arm("set", {"renewal.time_limit_s": 15}), ["arms.monolith", "timing rule"]),
    "no target": (_arm("targets", {}), ["arms.monolith.targets", "one of"]),
    "two targets": (_arm("targets", {"domain": 0, "zone": "a"}), ["arms.monolith.targets", "one of"]),
    "domain out of range": (_arm("targets", {"domain": 4}), ["targets.domain", "4", "0 to 3"]),
    "spread out of range": (_arm("targets", {"spread": 1.5}), ["targets.spread", "1.5", "(0, 1]"]),
    "unknown zone": (_arm("targets", {"zone": "d"}), ["targets.zone", "'d'", "a, b, c"]),
    "no servers": (_arm("targets", {"servers": []}), ["targets.servers", "[]"]),
    "unknown trigger": (_arm("trigger", {"pause": {}}), ["arms.monolith.trigger", "cut, kill"]),
    "bad trigger": (_arm("trigger", {"kill": {"what": "desk", "of": "x"}}), ["arms.monolith.trigger.kill", "'desk'"]),
    "a trigger that nothing lets strike": (
        _arm("trigger", {"kill": {"what": "store", "of": "cell-0"}}),
        ["arms.monolith.trigger", "${trigger}", "strike"],
    ),
    "unknown claim": (_extension("claims", [{"id": "fine"}]), ["claims[0].id", "'fine'", "healthy-before"]),
    "unknown arm in a claim": (
        _extension("claims", [{"id": "clean", "arms": ["duolith"]}]),
        ["claims[0].arms", "'duolith'", "monolith"],
    ),
    "unknown parameter of a claim": (
        _extension("claims", [{"id": "stuck", "arms": ["monolith"], "mx": 1}]),
        ["claims[0].mx", "load_tolerance"],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_wrong_file_is_named(case):
    change, words = TABLE[case]
    document = copy.deepcopy(DOCUMENT)
    change(document)
    found = problems(document, NAME)
    assert found
    assert all("\n" not in line for line in found)
    assert any(all(word in line for word in words) for line in found), found


@pytest.mark.parametrize("document", [None, [], "method", 3])
def test_not_even_a_mapping(document):
    assert "mapping" in problems(document)[0]


@pytest.mark.parametrize("text", ["a: [", "\tx", "{"])
def test_not_yaml_names_file_and_line(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(experiment.Refused, match=r"broken\.yaml:\d+:\d+: not YAML") as refusal:
        experiment.load(path)
    assert "\n" not in str(refusal.value)

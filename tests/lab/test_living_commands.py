"""The commands on a running world, against a world that only pretends: words, verbs, exit status."""

import json

import msgspec
import pytest

from cellwall.errors import Unavailable
from cellwall_lab import cli, verbs
from cellwall_lab.chaos import actions
from cellwall_lab.living import registry

from .fake_world import State, serving


@pytest.fixture
def home(tmp_path, monkeypatch):
    runtime = tmp_path / "r"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def world(home):
    """A world called fake, of two cells."""
    state = State(cells=2)
    with registry.taken("fake", "x") as entry, serving(home / "world.sock", state):
        registry.tell(msgspec.structs.replace(entry, folder=str(home), ready=True))
        yield state


@pytest.mark.parametrize(
    ("args", "called"),
    [
        (["cut"], verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0)),
        (["cut", "--zone", "b", "--for-s", "7"], verbs.Cut(targets=verbs.Targets(zone="b"), for_s=7.0)),
        (
            ["cut", "--servers", "s-0001,s-0002"],
            verbs.Cut(targets=verbs.Targets(servers=["s-0001", "s-0002"]), for_s=3),
        ),
        (["cut", "--spread", "0.5", "--world", "fake"], verbs.Cut(targets=verbs.Targets(spread=0.5), for_s=3.0)),
        (["pause"], verbs.Pause()),
        (["pause", "--cell", "cell-1"], verbs.Pause(cell="cell-1")),
        (["resume", "--over-s", "4"], verbs.Resume(over_s=4.0)),
        (["grow", "--cell", "cell-1"], verbs.AddCapacity(cell="cell-1")),
        (["limit-cpu", "0.5"], verbs.LimitCpu(factor=0.5)),
        (["weight", "cell-0", "3", "10"], verbs.Weight(cell="cell-0", partition=3, percent=10.0)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_is_one_verb(world, args, called):
    assert cli.call(args) == 0
    assert world.calls == [called]


def test_a_step_that_does_not_come_through_is_told_by_the_exit_status(world, capsys):
    world.state = "stuck"
    assert cli.call(["grow"]) == 2
    assert capsys.readouterr().out.startswith("grow: unknown after 4.0 s: time-out")
    world.tweak = "refuses"
    assert cli.call(["weight", "cell-0", "0", "50"]) == 1


def test_watch_shows_every_cell_and_says_so_when_a_node_does_not_answer(world, capsys):
    world.state = "stuck"
    world.fault_on = True
    world.tables = [
        {"customer": "me", "table": "orders", "state": "UPDATING", "step": "confirm", "since_s": 0.0, "index": "by-g",
         "servers": [f"s-{n:04d}" for n in range(5)], "trouble": "time-out"},
    ]  # fmt: skip
    assert cli.call(["watch", "--once"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("fake: cut")
    assert "servers out 30 % (30 of 100)" in lines[0] and "errors 30 % of 100/s" in lines[0]
    assert lines[2].split()[:4] == ["cell-0", "20", "30", "0"] and "no answer" in lines[2]
    assert lines[3].split()[:4] == ["cell-1", "50", "0", "0"] and "0.50 of 2 s" in lines[3]
    assert "fault cut-1: cut of 25 servers, ends in 2 s" in lines
    assert (
        "table me/orders: UPDATING by-g for 0 s, at confirm, "
        "5 servers have not confirmed: s-0000, s-0001, s-0002, …; time-out"
    ) in lines


def test_env_is_what_boto3_and_the_aws_command_read(home, capsys):
    with registry.taken("fake", "x") as entry:
        registry.tell(msgspec.structs.replace(entry, folder=str(home), ready=True, frontend="http://127.0.0.1:1"))
        assert cli.call(["env", "--customer", "you & me"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "export AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1" in lines
    assert "export AWS_ACCESS_KEY_ID='you & me'" in lines


def test_watch_as_json_is_the_whole_state(world, capsys):
    assert cli.call(["watch", "--json"]) == 0
    state = msgspec.json.decode(capsys.readouterr().out, type=verbs.FleetState)
    assert state == world.fleet()


def test_watch_ends_with_its_world(home, capsys):
    """Where there is no terminal it prints lines, and it never outlives what it watches."""
    state = State()

    def last_look():
        return 409, "the world is ending"

    state.fleet = last_look
    with registry.taken("fake", "x") as entry, serving(home / "world.sock", state):
        registry.tell(msgspec.structs.replace(entry, folder=str(home), ready=True))
        assert cli.call(["watch"]) == 0
    assert "world fake has ended" in capsys.readouterr().out


def test_explain_tells_the_trace(world, capsys):
    world.state = "stuck"
    assert cli.call(["explain", "s-0000"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("s-0000 (cell-0, zone a, group 0, 1,700 records) is out of service")
    assert "asked 3 times in vain: 2 × time-out, 1 × unreachable." in text
    assert "at most 4,096 bytes had come" in text
    assert "leaves service" in text


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("s-42", "did you mean s-0042?"),
        ("42", "did you mean s-0042?"),
        ("s-0o42", "s-0042"),
        ("moon", "s-0000 to s-0099"),
    ],
)
def test_explain_suggests_servers_that_exist(world, capsys, server, words):
    assert cli.call(["explain", server]) == cli.USAGE
    line = capsys.readouterr().err.strip()
    assert "\n" not in line and repr(server) in line and words in line


def test_growing_indexes_tells_the_memberships_before_and_after(world, capsys):
    assert cli.call(["grow-indexes", "--tables", "2", "--count", "3"]) == 0
    assert verbs.GrowIndexes(tables=2, count=3) in world.calls
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("before: memberships of 1,700 to 1,700 records") and lines[-2].startswith("after: ")
    assert lines[-1] == "grow-indexes: done after 1.0 s: 6 of 6 indexes ACTIVE"
    assert cli.call(["grow-indexes", "--tables", "me/orders, me/parts"]) == 0
    assert verbs.GrowIndexes(tables=["me/orders", "me/parts"]) in world.calls


def test_an_experiment_grows_indexes_by_the_same_verb(world, home):
    configuration = {"cellwall_world": str(home / "world.sock")}
    assert actions.grow_indexes(configuration, tables=4, count=2)["outcome"] == "done"
    assert world.calls == [verbs.GrowIndexes(tables=4, count=2)]
    world.tweak = "refuses"
    with pytest.raises(Unavailable, match="grow-indexes: refused"):
        actions.grow_indexes(configuration, tables=["me/orders"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["watch"], ["no world is running", "cellwall up"]),
        (["cut", "--world", "moon"], ["--world", "'moon'", "cellwall up"]),
        (["up", "--arm", "duolith"], ["--arm", "'duolith'", "monolith"]),
        (["up", "--cells", "0"], ["--cells", "'0'", ">= 1"]),
        (["up", "--cells", "8"], ["cells", "8", "at most"]),
        (["up", "--cells", "x"], ["--cells", "'x'", "whole number"]),
        (["up", "--seed", "one"], ["--seed", "'one'"]),
        (["up", "--set", "cels=4"], ["did you mean cells?"]),
        (["up", "--name", "A B"], ["--name", "'A B'"]),
        (["up", "--page-port", "70000"], ["--page-port", "70000"]),
        (["up", "--out", "/proc/none"], ["--out", "/proc/none"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_without_a_world(home, capsys, args, words):
    refused_in_one_line(capsys, args, words)
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["cut", "--world", "moon"], ["'moon'", "must be one of fake"]),
        (["cut", "--zone", "a", "--domain", "1"], ["--domain", "--zone", "only one"]),
        (["cut", "--for-s", "0"], ["--for-s", "0"]),
        (["cut", "--for-s", "soon"], ["--for-s", "'soon'", "a number > 0"]),
        (["cut", "--for-s", "inf"], ["--for-s", "'inf'"]),
        (["cut", "--domain", "4"], ["--domain", "'4'", "0..3"]),
        (["cut", "--servers", "s-none"], ["'s-none'"]),
        (["grow", "--deadline-s", "-1"], ["--deadline-s", "-1"]),
        (["resume", "--over-s", "-1"], ["--over-s"]),
        (["limit-cpu", "much"], ["FACTOR", "'much'"]),
        (["limit-cpu", "0"], ["FACTOR", "'0'", "> 0"]),
        (["limit-cpu"], ["FACTOR"]),
        (["weight", "cell-0"], ["PARTITION"]),
        (["weight", "cell-0", "x", "1"], ["PARTITION", "'x'"]),
        (["grow-indexes", "--count", "0"], ["--count", "0"]),
        (["explain"], ["SERVER"]),
        (["up", "--name", "fake"], ["--name", "'fake'", "is running already"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_of_a_world(world, capsys, args, words):
    refused_in_one_line(capsys, args, words)


def refused_in_one_line(capsys, args, words):
    assert cli.call(args) == cli.USAGE
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize("command", ["up", "cut", "limit-cpu", "weight", "grow-indexes", "explain"])
def test_help_shows_how(capsys, command):
    assert cli.call([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example" in text and f"cellwall {command}" in text


def test_help_names_every_command(capsys):
    assert cli.call(["--help"]) == 0
    text = capsys.readouterr().out
    for command in (
        "up",
        "watch",
        "explain",
        "cut",
        "pause",
        "grow",
        "resume",
        "limit-cpu",
        "weight",
        "grow-indexes",
        "env",
    ):
        assert f"\n  {command} " in text


def test_the_json_of_a_state_can_be_read_back():
    """Numbers as keys of a mapping survive JSON."""
    state = State(cells=1).fleet()
    cell = msgspec.structs.replace(state.cells["cell-0"], weights={3: 10.0})
    state = msgspec.structs.replace(state, cells={"cell-0": cell})
    assert json.loads(msgspec.json.encode(state))["cells"]["cell-0"]["weights"] == {"3": 10.0}
    assert msgspec.json.decode(msgspec.json.encode(state), type=verbs.FleetState) == state

"""Ten ways in which a run goes wrong, and three ways to run them: `cellwall run`, `chaos run` with our control, and
stock `chaos run`, which has a running world, the same activities, and no control of ours.

Every world is fake (`fake_world.py`) and its undisturbed history holds every claim, so that only the sabotage can
make the difference. `python -m tests.lab.sabotage`, from the repository's root, prints the table of docs/verdicts.md.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from cellwall.spec import RenewalPolicy
from cellwall_lab import runbook
from cellwall_lab.chaos import actions

from .fake_world import State, serving
from .runs import ARM, BACKEND, DEADLINE_S, TESTS, changed, chaos, until

DOCS = TESTS.parent / "docs" / "verdicts.md"


class Sabotage(NamedTuple):
    """What goes wrong, and what the verdict must say about it. ``world``: the fake world's tweak."""

    name: str
    reason: str
    world: str = "heals"
    change: Callable[[dict[str, Any]], object] | None = None
    signum: signal.Signals | None = None
    outcome: str = "unknown"
    refused: bool = False  # the user's to correct: `cellwall run` exits 3


def _strike_nobody(document: dict[str, Any]) -> None:
    document["extensions"][0]["arms"][ARM]["targets"] = {"servers": ["s-none"]}


def _probe_nothing(document: dict[str, Any]) -> None:
    probe = document["steady-state-hypothesis"]["probes"][0]
    probe["provider"] = {"type": "python", "module": BACKEND, "func": "nothing"}


def _misspell(document: dict[str, Any]) -> None:
    document["rollback"] = document.pop("rollbacks")


SABOTAGES = [
    Sabotage("the fault's action crashes", "cut: ", change=_strike_nobody),
    Sabotage("the fault leaves no receipt", "the cut left no receipt", "no-receipt"),
    Sabotage("the fault outlives its window", "cut-1 outlived its window by 36.0 s", "outlives"),
    Sabotage("not healthy at the start", "not healthy at the start: servers-out was 0.6", "unhealthy"),
    Sabotage("a dip in the middle that heals", "1.5 % of servers out on average", "dips", outcome="broken"),
    Sabotage("the rollback crashes", "make-safe: ", "rollback-raises"),
    Sabotage("SIGTERM to the runner", "interrupted", "slow-once", signum=signal.SIGTERM),
    Sabotage("SIGKILL of the runner", "interrupted|not finished", "slow", signum=signal.SIGKILL),
    Sabotage("the load generator is late", "load generator p99 142.0 ms late", "late-load"),
    Sabotage("empty metrics: a probe finds nothing", "chaos run ended with|not finished", change=_probe_nothing),
    Sabotage("empty metrics: no renewal, no request on record", "no large renewal ended", "no-metrics"),
    Sabotage("a misspelt key", "rollback: unknown key; did you mean rollbacks?", change=_misspell, refused=True),
]


def source_of(home: Path, sabotage: Sabotage) -> Path:
    return changed(home, sabotage.change or (lambda document: None))


def by_cellwall_run(home: Path, sabotage: Sabotage) -> int:
    """Exit status; the run folder is home/r."""
    code = "import sys; from cellwall_lab import cli, runner; runner.render = lambda path: None; sys.exit(cli.call())"
    words = ["run", str(source_of(home, sabotage)), "--backend", BACKEND, "--arm", ARM, "--out", str(home / "r")]
    with (home / "runner.out").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=out, stderr=subprocess.STDOUT)
    return _ended(process, sabotage, home / "r" / ARM / "logs" / "chaos.out")


def by_chaos_run(home: Path, sabotage: Sabotage) -> int:
    """Exit status; the run folder is home/r."""
    variables = (f"arm={ARM}", f"backend={BACKEND}", "out=r")
    with (home / "chaos.out").open("wb") as out:
        process = chaos(home, source_of(home, sabotage), *variables, stdout=out)
    return _ended(process, sabotage, home / "chaos.out")


def by_stock_chaos_run(home: Path, sabotage: Sabotage) -> tuple[int, str]:
    """Exit status, and what the journal says: "status, deviated or not", or that there is none."""
    strike = {"servers": ["s-none"]} if sabotage.change is _strike_nobody else {"domain": 0}
    world = State(tweak=sabotage.world)
    world.spared = 1  # the hypothesis is tested after the method too, before the rollback
    with serving(home / "w.sock", world):
        path = home / "stock.yaml"
        document = yaml.safe_load(source_of(home, sabotage).read_text())
        path.write_text(yaml.safe_dump(stock(document, home / "w.sock", strike), sort_keys=False))
        with (home / "chaos.out").open("wb") as out:
            process = chaos(home, path, stdout=out)
        status = _ended(process, sabotage, home / "chaos.out")
    journal = home / "journal.json"
    if not journal.exists():
        return status, "no journal"
    said = json.loads(journal.read_text())
    return status, f"{said['status']}, {'deviated' if said['deviated'] else 'not deviated'}"


def stock(document: dict[str, Any], socket: Path, strike: dict[str, Any]) -> dict[str, Any]:
    """The experiment as somebody would write it who has Chaos Toolkit alone and a world that runs already: the
    hypothesis before and after the method, rollbacks always, what the control hands on as literal values."""
    line, renewal = runbook.timeline(RenewalPolicy()), RenewalPolicy()
    given = {
        actions.WORLD: str(socket),
        actions.LINE: msgspec.to_builtins(line),
        actions.RUNBOOK: "none",
        actions.RENEWAL: msgspec.to_builtins(renewal),
        **msgspec.to_builtins(line),
        "targets": strike,
        "renew_every_s": renewal.renew_every_s,
        "time_limit_s": renewal.time_limit_s,
    }
    kept = {key: value for key, value in document.items() if key not in ("controls", "extensions")}
    return kept | {"configuration": given, "runtime": {"rollbacks": {"strategy": "always"}}}


def _ended(process: "subprocess.Popen[bytes]", sabotage: Sabotage, log: Path) -> int:
    """The exit status, after the sabotage's signal if it has one: once the world holds the run in its warm-up."""
    if sabotage.signum is not None:
        until(lambda: log.exists() and b"warm-up" in log.read_bytes())
        process.send_signal(sabotage.signum)
    return process.wait(DEADLINE_S)


# ---------------------------------------------------------------- the table of docs/verdicts.md


def documented() -> dict[str, tuple[int, str]]:
    """What docs/verdicts.md says that stock `chaos run` does, by the sabotage's name."""
    rows = re.findall(r"^\| ([^|]+?) \| `(-?\d+)` ([^|]+?) \|", DOCS.read_text(), re.MULTILINE)
    return {name: (int(status), journal) for name, status, journal in rows}


def main() -> None:
    os.environ["PYTHONPATH"] = str(TESTS)
    print("| sabotage | stock `chaos run` | `chaos run` with our control | `cellwall run` | the verdict's reason |")
    print("|---|---|---|---|---|")
    for sabotage in SABOTAGES:
        os.environ["FAKE_WORLD"] = sabotage.world
        with tempfile.TemporaryDirectory(prefix="cw") as a, tempfile.TemporaryDirectory(prefix="cw") as b:
            chaos_status, status = by_chaos_run(Path(a), sabotage), by_cellwall_run(Path(b), sabotage)
            verdict = json.loads((Path(b) / "r" / "verdict.json").read_text())
        with tempfile.TemporaryDirectory(prefix="cw") as home:
            stock_status, journal = by_stock_chaos_run(Path(home), sabotage)
        evidence = next(c["evidence"] for c in verdict["arms"][0]["claims"] if c["outcome"] == verdict["outcome"])
        ours = f"`{chaos_status}` {verdict['outcome']} | `{status}` {verdict['outcome']} | {evidence}"
        print(f"| {sabotage.name} | `{stock_status}` {journal} | {ours} |", flush=True)


if __name__ == "__main__":
    main()

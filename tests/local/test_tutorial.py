"""The tutorial, command by command, against a small world that is quick and never overloaded.

What is tested is that every command there works as written; that the event then looks as told is `test_event.py`'s.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cellwall_lab import children

from ..waiting import until
from .conftest import GONE_S, QUICK, READY_S, processes_of

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BIN = Path(sys.executable).parent
# Four placement groups, for four cells; customers enough for the 96 largest tables.
SMALL = ("fleet.servers=100", "fleet.customers_per_group=16", *QUICK)
BLOCK_S = 240.0
MAY_FAIL = "may-fail"


def blocks() -> list[tuple[str, str]]:
    """(what kind of block, its text), in order: sh, "sh world", "sh may-fail", "sh stop", python."""
    found = re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    return [(kind.strip(), text.strip()) for kind, text in found]


class Reader:
    """Follows the tutorial with two terminals: one keeps the world, the other one's shell remembers its variables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(folder / "runtime"), "PATH": path}
        self._world: subprocess.Popen[bytes] | None = None
        self._worlds = 0

    def follow(self, kind: str, text: str) -> str:
        language, _, what = kind.partition(" ")
        if what == "world":
            return self._up(text)
        if what == "stop":
            return self._stop()
        if language == "python":
            return self._run([sys.executable, "-c", text])
        # Nobody waits for a small world as long as for a large one: `wait_healthy` does what a sleep is there for.
        pieces = re.split(r"^sleep \d+$", text, flags=re.MULTILINE)
        said = ""
        for number, piece in enumerate(pieces):
            if number and "pause" not in pieces[number - 1]:
                self._wait_healthy()
            said += self._run(["bash", "-ec", f"{piece}\nenv > {self.folder}/env"], may_fail=what == MAY_FAIL)
            self._remember()
        return said

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._run(["cellwall", "watch", "--json"]))
        return state

    def close(self) -> None:
        if self._world is not None:
            children.end(self._world, GONE_S)

    def _up(self, text: str) -> str:
        self._worlds += 1
        said = self.folder / f"up-{self._worlds}.txt"
        sets = [word for assignment in SMALL for word in ("--set", assignment)]
        with said.open("wb") as log:
            self._world = children.start(
                [*shlex.split(text), *sets], stdout=log, stderr=log, env=self.env, cwd=self.folder
            )
        world = self._world
        until("the world is up", lambda: b"Ctrl-C here ends" in said.read_bytes() or world.poll() is not None, READY_S)
        assert world.poll() is None, said.read_text()
        return said.read_text()

    def _stop(self) -> str:
        assert self._world is not None
        self._world.terminate()
        assert self._world.wait(GONE_S) == 0
        until("every process is gone", lambda: not processes_of(self.folder), GONE_S)
        return ""

    def _run(self, command: list[str], *, may_fail: bool = False) -> str:
        ran = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=BLOCK_S, check=False
        )
        assert ran.returncode == 0 or (may_fail and ran.returncode in (1, 2)), f"{command}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def _remember(self) -> None:
        """What the shell exported is there in its next command."""
        lines = (self.folder / "env").read_text().splitlines()
        self.env |= dict(line.split("=", 1) for line in lines if line.startswith("AWS_"))

    def _wait_healthy(self) -> None:
        def healthy() -> bool:
            state = self.state()
            return not state["faults"] and state["window"]["servers_out"] == 0

        until("everybody is back in service", healthy, 60.0)


def test_the_tutorial_holds_what_the_issue_asks_for() -> None:
    """Start, items, indexes, cut, grow, pause, resume, four cells; and every block is of a kind that is run here."""
    kinds = {kind for kind, _ in blocks()}
    assert kinds == {"sh", "sh world", "sh stop", f"sh {MAY_FAIL}", "python"}
    commands = "\n".join(text for _, text in blocks())
    for word in (
        "put_item",
        "get_item",
        "grow-indexes",
        "cut",
        "watch",
        "explain",
        "grow",
        "pause",
        "resume",
        "--cells 4",
    ):
        assert word in commands


@pytest.mark.timeout(900)
def test_every_command_of_the_tutorial_works_as_written(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    said = []
    try:
        for kind, text in blocks():
            said.append((kind, text, reader.follow(kind, text)))
            if kind == "python":
                assert "a teapot" in said[-1][2]
            if "grow-indexes" in text:
                before, after = (
                    next(line for line in said[-1][2].splitlines() if line.startswith(word))
                    for word in ("before", "after")
                )
                assert before.partition(":")[2] != after.partition(":")[2], "memberships have grown"
                assert re.search(r"(\d+) of \1 indexes ACTIVE", said[-1][2]), said[-1][2]
    finally:
        reader.close()
    shown = [text for _, command, text in said if "watch --once" in command]
    assert all("servers out" in text for text in shown)
    assert sum("cell-3" in text for text in shown) == 2, "the last two are of four cells"

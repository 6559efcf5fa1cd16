"""`make` as a user meets it first: help by default, and one line that says what a machine lacks."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that `make setup` looks at, without a .venv."""
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # These tests may run under `make test`, whose flags would come along.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def interpreter(folder: Path, script: str) -> str:
    path = folder / "fake-python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


def complaint(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode != 0
    lines = [line for line in ran.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    return lines[0]


def test_make_alone_lists_the_targets_and_does_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    ran = make(folder)
    assert ran.returncode == 0
    listed = re.findall(r"^  make ([a-z-]+)  +\S", ran.stdout, re.MULTILINE)
    assert {"setup", "demo", "test", "check", "report", "clean"} <= set(listed)
    assert sorted(folder.iterdir()) == before


def test_an_old_python_is_named(folder: Path) -> None:
    ran = make(folder, "setup", interpreter(folder, 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac'))
    assert "Python >= 3.11 is needed" in complaint(ran) and "is Python 3.9.2" in complaint(ran)
    assert not (folder / ".venv").exists()


def test_a_missing_python_is_named(folder: Path) -> None:
    ran = make(folder, "setup", "PYTHON=no-such-python")
    assert "Python >= 3.11 is needed; no-such-python is " in complaint(ran)


def test_a_missing_venv_module_is_named(folder: Path) -> None:
    ran = make(folder, "setup", interpreter(folder, 'case "$2" in *ensurepip*) exit 1;; esac'))
    assert "apt install python3-venv" in complaint(ran)
    assert not (folder / ".venv").exists()


def test_setup_is_done_once_until_the_lock_changes(folder: Path) -> None:
    stamp = folder / ".venv/.complete"
    stamp.parent.mkdir()
    stamp.touch()
    assert make(folder, "--question", "setup").returncode == 0
    later_s = stamp.stat().st_mtime + 1
    os.utime(folder / "uv.lock", (later_s, later_s))
    assert make(folder, "--question", "setup").returncode == 1


def test_a_report_without_a_run_says_how_to_get_one(folder: Path) -> None:
    (folder / ".venv").mkdir()
    (folder / ".venv/.complete").touch()
    ran = make(folder, "report")
    assert ran.returncode != 0
    assert "no run yet" in ran.stderr

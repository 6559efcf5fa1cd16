"""Fixtures of the lab's tests."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellwall_lab import runner

from .runs import TESTS, run
from .simulated_arms import Struck


@pytest.fixture(scope="session")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Struck:
    return Struck(tmp_path_factory.mktemp)


@contextlib.contextmanager
def over_fake_worlds() -> Iterator[None]:
    """The fake backend importable, no report drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setenv("FAKE_WORLD", "heals")
        patch.setattr(runner, "render", lambda path: None)
        yield


@pytest.fixture
def home() -> Iterator[Path]:
    """A short folder for runs over fake worlds."""
    with tempfile.TemporaryDirectory(prefix="cw") as folder, over_fake_worlds():
        yield Path(folder)


@pytest.fixture(scope="session")
def undisturbed() -> Iterator[Path]:
    """A home with a run that nothing happened to, seed 5: only to be read."""
    with tempfile.TemporaryDirectory(prefix="cw") as folder:
        with over_fake_worlds():
            assert run(Path(folder), "--seed", "5") == 0
        yield Path(folder)

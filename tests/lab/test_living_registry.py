"""Which world a command means: names are held by one, the dead are swept, and errors name who runs."""

import os
import subprocess
import sys

import msgspec
import pytest

from cellwall.errors import Refused
from cellwall_lab.living import registry
from cellwall_lab.living.registry import Entry


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def up(entry, folder, **changes):
    entry = msgspec.structs.replace(entry, folder=str(folder), ready=True, **changes)
    registry.tell(entry)
    return entry


def test_no_world_at_all_says_how_to_start_one(home):
    for name in (None, "blue"):
        with pytest.raises(Refused, match="cellwall up"):
            registry.find(name)


def test_the_only_world_needs_no_name_and_of_two_the_command_must_choose(home):
    with registry.taken("blue", "x") as first:
        blue = up(first, home)
        assert registry.find(None) == registry.find("blue") == blue
        with registry.taken("green", "x") as second:
            green = up(second, home)
            assert registry.find("green") == green
            with pytest.raises(Refused, match="one of blue, green"):
                registry.find(None)
            with pytest.raises(Refused, match="'red' is not running; it must be one of blue, green"):
                registry.find("red")
        assert registry.find(None) == blue
    assert registry.running() == []
    assert list(registry.folder().iterdir()) == []


def test_a_name_is_held_by_one_world_and_defaults_are_numbered(home):
    with registry.taken("blue", "x"):
        with pytest.raises(Refused, match="'blue' is running already"), registry.taken("blue", "x"):
            pass
        with registry.taken(None, "blue") as second, registry.taken(None, "blue") as third:
            assert (second.name, third.name) == ("blue-2", "blue-3")
        assert [world.name for world in registry.running()] == ["blue"]


@pytest.mark.parametrize("name", ["", "Blue", "a b", "../a", "a/b", "-a", ".a", "x" * 41])
def test_a_name_is_a_word(home, name):
    with pytest.raises(Refused, match="--name"), registry.taken(name, "x"):
        pass


def test_what_a_dead_process_left_is_swept(home):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = Entry(name="left", version="1", process=(int(gone.stdout), 1), folder=str(home), ready=True)
    registry.tell(left)
    # The same pid in another life is another process.
    registry.tell(Entry(name="reused", version="1", process=(os.getpid(), 1), folder=str(home), ready=True))
    (registry.folder() / "broken.json").write_text("{")
    assert registry.running() == []
    assert list(registry.folder().iterdir()) == []


def test_a_world_of_another_version_is_refused_with_both_versions(home):
    with registry.taken("old", "x") as entry:
        up(entry, home, version="0.0.1")
        with pytest.raises(Refused, match=r"world old: was started by cellwall 0\.0\.1"):
            registry.find(None)


def test_a_world_that_is_starting_is_not_asked(home):
    with registry.taken("young", "x"), pytest.raises(Refused, match="world young: is still starting"):
        registry.find(None)


def test_the_folder_is_the_users_own(home, monkeypatch):
    assert registry.folder().stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(Refused, match="belongs to another user"):
        registry.folder()

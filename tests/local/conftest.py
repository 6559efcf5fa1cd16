"""Small worlds of real processes. Nothing here sleeps for a duration: everything waits for a condition."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cellwall.spec import CpuSpec, FleetSpec, LoadSpec, MetadataPolicy, RenewalPolicy, WorldSpec
from cellwall_lab import children
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.verbs import WorldClient

from ..waiting import until

READY_S = 60.0
GONE_S = 30.0

TINY = WorldSpec(
    seed=1,
    cells=2,
    fleet=FleetSpec(servers=50, group_servers=25, large_records=60),
    renewal=RenewalPolicy(renew_every_s=3.0, time_limit_s=1.0),
    metadata=MetadataPolicy(partitions=4),
    load=LoadSpec(rps=20.0, keys_per_table=2),
    cpu=CpuSpec(total_cores=1.0),  # plenty: what is tested is the world, not the outage
)


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes that work in, or were started for, a run's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            inside = str(folder) in line or str((entry / "cwd").readlink()).startswith(str(folder))
        except OSError:  # gone meanwhile
            continue
        if inside and state != "Z":
            found.append(f"{entry.name} {line}")
    return found


class Started:
    """A world server of a spec, started and ready."""

    def __init__(self, folder: Path, spec: WorldSpec) -> None:
        self.folder = folder
        config = ArmConfig(arm="test", backend="local", seed=spec.seed, spec=spec, out=str(folder))
        config.write(folder / "arm.json")
        with (folder / "world.err").open("wb") as err:
            self.process = children.start(
                [sys.executable, "-m", "cellwall_lab.backends.local", folder / "arm.json"],
                stdout=subprocess.PIPE,
                stderr=err,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == b"ready\n", (folder / "world.err").read_text()
        self.client = WorldClient(os.path.relpath(folder / "world.sock"))

    def error(self) -> str:
        return (self.folder / "world.err").read_text()

    def all_gone(self) -> None:
        until("every process of the world is gone", lambda: not processes_of(self.folder), GONE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts a world in tmp_path; whatever a test leaves is ended."""
    started: list[Started] = []

    def begin(spec: WorldSpec = TINY) -> Started:
        started.append(Started(tmp_path, spec))
        return started[-1]

    yield begin
    for world in started:
        children.end(world.process, GONE_S)
        assert world.process.stdout is not None
        world.process.stdout.close()

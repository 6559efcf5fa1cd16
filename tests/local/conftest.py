"""Small worlds of real processes. Nothing here sleeps for a duration: everything waits for a condition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import boto3
import msgspec
import pytest
from botocore.config import Config

from cellwall.spec import CpuSpec, FleetSpec, LoadSpec, MetadataPolicy, RenewalPolicy, WorldSpec
from cellwall_lab import children
from cellwall_lab.backends.config import ArmConfig
from cellwall_lab.verbs import WorldClient

from ..waiting import until

READY_S = 60.0
GONE_S = 30.0
# A table changes, a pause is felt and a cut ends within a period or two: the shortest that the timing rule allows with
# a time limit that a busy machine keeps.
RENEW_EVERY_S, TIME_LIMIT_S = 2.2, 1.0

CELLWALL = Path(sys.executable).with_name("cellwall")
# What makes a world quick and, with CPU enough, healthy whatever is done to it.
QUICK = (
    "fleet.large_records=60",
    f"renewal.renew_every_s={RENEW_EVERY_S}",
    f"renewal.time_limit_s={TIME_LIMIT_S}",
    "metadata.partitions=4",
    "cpu.total_cores=1.0",
    "load.rps=20",
    "load.keys_per_table=2",
)
SETTINGS = [word for assignment in ("fleet.servers=50", *QUICK) for word in ("--set", assignment)]

TINY = WorldSpec(
    seed=1,
    cells=2,
    fleet=FleetSpec(servers=50, group_servers=25, large_records=60),
    renewal=RenewalPolicy(renew_every_s=RENEW_EVERY_S, time_limit_s=TIME_LIMIT_S),
    metadata=MetadataPolicy(partitions=4),
    load=LoadSpec(rps=20.0, keys_per_table=2),
    cpu=CpuSpec(total_cores=1.0),  # plenty: what is tested is the world, not the outage
)
SINGLE = msgspec.structs.replace(TINY, cells=1)  # where cells do not matter: two processes fewer to start


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


def customer(home: Path, name: str) -> Any:
    """A customer's client of the world in this folder; to be closed."""
    listen = json.loads((home / "configs" / "frontend.json").read_text())["listen"]
    return boto3.client(
        "dynamodb",
        endpoint_url=f"http://{listen}",
        region_name="us-east-1",
        aws_access_key_id=name,
        aws_secret_access_key="unchecked",
        config=Config(retries={"max_attempts": 1, "mode": "standard"}, connect_timeout=5, read_timeout=20),
    )


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


class Walk:
    """A user: worlds in terminals of their own, and commands in another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(folder / "runtime")}
        self._ups: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []

    def up(self, *words: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a world; returns its process and what it prints, once it says that it is up."""
        said = self.folder / f"up-{len(self._ups)}.txt"
        log = said.open("wb")
        process = children.start(
            [CELLWALL, "up", *words, *SETTINGS], stdout=log, stderr=log, env=self.env, cwd=self.folder
        )
        self._ups.append((process, log))
        until(
            "the world is up",
            lambda: b"Ctrl-C here ends" in said.read_bytes() or process.poll() is not None,
            READY_S,
        )
        assert process.poll() is None, said.read_text()
        return process, said

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [CELLWALL, *words]
        return subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )

    def state(self, *words: str) -> dict[str, Any]:
        ran = self.run("watch", "--json", *words)
        assert ran.returncode == 0, ran.stderr
        state: dict[str, Any] = json.loads(ran.stdout)
        return state

    def close(self) -> None:
        for process, log in self._ups:
            children.end(process, GONE_S)
            log.close()


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    user = Walk(tmp_path)
    yield user
    user.close()
    until("every process is gone", lambda: not processes_of(tmp_path), GONE_S)

"""A storage host in service: renewals, replicas, kill -9, SIGTERM, and settings that it refuses."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cellwall import history
from cellwall.quorum import Version
from cellwall_services.config import HostConfig
from cellwall_services.storage.__main__ import main
from cellwall_services.wire import Get, Got, Put, ServerState

from .storage_world import V1, V2, World, until


async def test_a_server_enters_service_by_a_renewal_and_confirms_its_epoch(host: World) -> None:
    async def confirmed() -> bool:
        return host.node.confirmed == {"s-1": 1, "s-2": 1}

    await until(confirmed)
    assert (await host.states())["s-1"] == ServerState(True, "renewed", 1, 3)
    start, renewed, entered = (await host.trace("s-1"))[:3]
    assert isinstance(start, history.Availability) and (start.available, start.reason) == (False, "start")
    assert isinstance(renewed, history.Renewal) and (renewed.outcome, renewed.records) == ("done", 3)
    assert renewed.bytes == len(host.node.answer("s-1", confirmed=0).body)  # type: ignore[arg-type]
    assert isinstance(entered, history.Availability) and entered.available
    assert msgspec.json.decode(await host.get("h", "/map-version")) == {"version": 1}
    assert b"cellwall_storage_servers_available 2.0" in await host.get("h", "/metrics")

    async def renewed_again() -> bool:
        return len(host.node.asked) >= 6

    await until(renewed_again)
    assert len(host.node.connections) == len(host.node.asked), "one connection per renewal"
    assert len([r for r in await host.trace("s-1") if isinstance(r, history.Availability)]) == 2


async def test_a_replica_keeps_the_highest_version_and_says_why_it_does_nothing(host: World) -> None:
    for version, item in ((V2, b"new"), (V1, b"old")):
        assert (await host.replica("s-1", "put", Put("t-1//0", b"k", version, item)))[0] == 200
    status, body = await host.replica("s-1", "get", Get("t-1//0", b"k"))
    assert (status, msgspec.msgpack.decode(body, type=Got)) == (200, Got(V2, b"new"))
    assert await host.refusal("s-1", "put", Put("elsewhere", b"k", V1, b"")) == "not-assigned"
    assert await host.refusal("s-1", "get", Get("elsewhere", b"k")) == "not-assigned"
    assert await host.refusal("s-9", "get", Get("t-1//0", b"k")) == "no-such-server"
    status, body = await host.replica("s-1", "put", {"partition": 1})
    assert status == 400
    assert b"partition" in body


async def test_acknowledged_puts_survive_kill_9(host: World) -> None:
    for number in range(50):
        put = Put(f"t-1//{number % 3}", b"k%d" % number, Version(number, 0, "fe"), b"item %d" % number)
        assert (await host.replica("s-1", "put", put))[0] == 200
    host.end("h", signal.SIGKILL)
    await host.start("h")
    await host.all_in()
    for number in range(50):
        status, body = await host.replica("s-1", "get", Get(f"t-1//{number % 3}", b"k%d" % number))
        assert (status, msgspec.msgpack.decode(body, type=Got).item) == (200, b"item %d" % number)


async def test_sigterm_ends_it_cleanly_with_every_record_on_disk(host: World) -> None:
    assert host.end("h") == 0
    assert not list((host.folder / "h").glob("*-wal")), "the logs are folded in"
    with (host.folder / "h.ndjson").open("rb") as lines:
        records = list(history.decode(lines))
    entered = [r.server for r in records if isinstance(r, history.Availability) and r.available]
    assert sorted(entered) == ["s-1", "s-2"]
    assert (host.folder / "h.log").read_text() == ""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"servers": []}, "servers: []"),
        ({"servers": ["s-1", "s-1"]}, "named twice"),
        ({"servers": ["../s"]}, "'../s' is not allowed"),
        ({"listen": "nowhere"}, "not host:port"),
        ({}, "is taken"),
        ({"colour": 1}, "colour"),
        ({"data_dir": "/proc/none"}, "/proc/none"),
    ],
)
def test_bad_settings_are_one_line_and_status_3(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    text: str,
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = f"127.0.0.1:{listener.getsockname()[1]}"
        folder = str(tmp_path)
        config = HostConfig(
            name="h", zone="a", servers=["s-1"], listen=taken, map_path=folder, data_dir=folder, seed=1,
            records=f"{folder}/r",
        )  # fmt: skip
        path = tmp_path / "bad.json"
        path.write_bytes(msgspec.json.encode(msgspec.to_builtins(config) | changes))
        monkeypatch.setattr(sys, "argv", ["storage", str(path)])
        assert main() == 3
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1

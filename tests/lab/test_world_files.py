"""The two small programs that the chart runs beside the services: the load's catalogue, and the smoke test."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import msgspec
import pytest

from cellwall.arrivals import Catalogue
from cellwall.placement import make_layout
from cellwall.resources import MetadataServiceSpec, StorageFleetSpec, resources
from cellwall.spec import FleetSpec, WorldSpec
from cellwall_lab import catalogue, smoke, waiting
from cellwall_lab.backends.catalogue import make_catalogue

ROOT = Path(__file__).parents[2]
SPEC = WorldSpec(seed=3, cells=2, fleet=FleetSpec(servers=60, group_servers=15, large_records=60))
LAYOUT = make_layout(SPEC, lambda name: Random(f"{SPEC.seed}/{name}"))


@pytest.fixture
def specs(tmp_path: Path) -> list[str]:
    service, fleet = resources(SPEC, "world", 0.4)
    (tmp_path / "service.json").write_bytes(msgspec.json.encode(service))
    (tmp_path / "fleet.json").write_bytes(msgspec.json.encode(fleet))
    return [str(tmp_path / "service.json"), str(tmp_path / "fleet.json")]


def test_the_catalogue_is_that_of_the_local_backend(specs: list[str], tmp_path: Path) -> None:
    assert catalogue.main([*specs, str(tmp_path / "out.json")]) == 0
    found = msgspec.json.decode((tmp_path / "out.json").read_bytes(), type=Catalogue)
    found.check()
    assert found == make_catalogue(LAYOUT)


@pytest.mark.parametrize(
    "content, told",
    [('{"celsl": 1}', "celsl"), ('{"cells": 0}', "cells"), ('{"cells": 5}', "cells"), ("", "service.json")],
)
def test_a_wrong_resource_is_one_line_and_status_3(
    specs: list[str], tmp_path: Path, content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(specs[0]).write_text(content)
    assert catalogue.main([*specs, str(tmp_path / "out.json")]) == 3
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("module", ["catalogue", "smoke", "waiting"])
def test_they_need_nothing_that_only_the_whole_lab_has(module: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    dists = {extra: {re.split(r"[^\w-]", text)[0] for text in texts} for extra, texts in extras.items()}
    absent = dists["lab"] - dists["services"] - dists["load"] - dists["smoke"]
    assert {"typer", "numpy", "kubernetes"} <= absent
    code = (
        f"import sys; before = set(sys.modules); import cellwall_lab.{module}; "
        "print(*{name.split('.')[0] for name in sys.modules.keys() - before})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    providers = importlib.metadata.packages_distributions()
    loaded = {dist for name in shown.stdout.split() for dist in providers.get(name, [])}
    assert not loaded & absent


# ---------------------------------------------------------------- the smoke test


def test_each_cell_has_a_customer_to_ask() -> None:
    samples = smoke.samples(LAYOUT)
    assert [s.cell for s in samples] == ["cell-0", "cell-1"]
    homes = LAYOUT.customers()
    assert all(homes[s.customer] == [s.cell] for s in samples)
    striped = msgspec.structs.replace(SPEC, placement="striped")
    layout = make_layout(striped, lambda name: Random(f"{striped.seed}/{name}"))
    assert {s.cell for s in smoke.samples(layout)} == {"cell-0", "cell-1"}


class Front(ThreadingHTTPServer):
    """Registers in memory; ``lost``: writes are acknowledged and forgotten, ``out``: customers that are not served."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.items: dict[tuple[str, str, str], object] = {}
        self.asked: list[tuple[str, str]] = []
        self.lost = False
        self.out: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: Front

    def do_POST(self) -> None:
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        customer = self.headers["Authorization"].split("Credential=")[1].split("/")[0]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((customer, operation))
        status, answer = 200, {}
        if customer in self.server.out:
            status, answer = (
                503,
                {"__type": "com.amazonaws.dynamodb.v20120810#ServiceUnavailable", "message": "no quorum"},
            )
        elif operation == "PutItem":
            if not self.server.lost:
                self.server.items[customer, asked["TableName"], asked["Item"]["pk"]["S"]] = asked["Item"]
        else:
            assert operation == "GetItem" and asked["ConsistentRead"] is True
            item = self.server.items.get((customer, asked["TableName"], asked["Key"]["pk"]["S"]))
            answer = {"Item": item} if item else {}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def front() -> Iterator[Front]:
    with Front() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ran(front: Front, specs: list[str]) -> int:
    return smoke.main([*specs, f"http://127.0.0.1:{front.server_address[1]}"])


def test_every_cell_is_written_to_and_read_from(
    front: Front, specs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(front, specs) == 0
    assert [operation for _, operation in front.asked] == ["PutItem", "GetItem"] * 2
    assert len({customer for customer, _ in front.asked}) == 2
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["cell-0", "cell-1"]


def test_a_cell_that_fails_is_named_asked_once_and_the_others_are_asked_too(
    front: Front, specs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = smoke.samples(LAYOUT)[0].customer
    front.out = {first}
    assert ran(front, specs) == 1
    assert front.asked.count((first, "PutItem")) == 1, "retries would hide what customers see"
    said = capsys.readouterr().out
    assert f"cell-0: {first} is not served" in said and "no quorum" in said and "cell-1: " in said


def test_an_acknowledged_write_that_is_not_found_fails(
    front: Front, specs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    front.lost = True
    assert ran(front, specs) == 1
    assert "a consistent read found None" in capsys.readouterr().out


def test_specs_are_those_of_the_custom_resources(specs: list[str]) -> None:
    assert catalogue.read_spec(Path(specs[0]), MetadataServiceSpec).cells == 2
    assert catalogue.read_spec(Path(specs[1]), StorageFleetSpec).servers == 60


# ---------------------------------------------------------------- waiting for the front end


def test_it_waits_until_the_door_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(503 if len(asked) < 2 else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        assert waiting.main([f"http://127.0.0.1:{server.server_address[1]}/ready"]) == 0
        server.shutdown()
        thread.join()
    assert asked == ["/ready", "/ready"]
    assert capsys.readouterr().err.count("503") == 1
    assert "refused" in waiting.ready("http://127.0.0.1:1/ready")
    assert waiting.main([]) == 3

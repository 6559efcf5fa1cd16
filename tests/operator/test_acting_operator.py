"""The process as a whole, with kopf, against an API server in memory: what it sees, does, and leaves alone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from cellwall_operator import handlers, lease, listing, scheduler
from cellwall_operator.actions import Action, Apply, Plan, Ref, Status
from cellwall_operator.api import CONFIGMAPS, FLEETS, LEASES, PODS, SERVICES
from cellwall_operator.objects import Observed

from .acting_world import LABELS, operating, until
from .api_double import ApiDouble, serving

SPEC = {"service": "w", "servers": 30}
SERVICE = Ref("cellwall.dev/v1alpha1", "MetadataService", "w")


@pytest.fixture
async def double() -> AsyncIterator[ApiDouble]:
    async with serving(ApiDouble()) as found:
        found.seed(SERVICES, "n", "w", spec={"cells": 2})
        found.seed(FLEETS, "n", "w", spec=SPEC)
        yield found


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "COALESCE_S", 0.02)
    monkeypatch.setattr(scheduler, "FAILED_GAP_S", 0.05)
    monkeypatch.setattr(scheduler, "BACKOFF_MIN_S", 0.05)


class Planner:
    """Wants one ConfigMap per cell of the spec, and a status that counts pods; keeps what it saw."""

    def __init__(self) -> None:
        self.saw: list[Observed] = []

    def __call__(self, observed: Observed, now_s: float) -> Plan:
        self.saw.append(observed)
        service = observed.service
        if service is None or service.spec is None:
            return Plan()
        tracks: dict[str, tuple[Action, ...]] = {}
        for number in range(service.spec.cells):
            name = f"{observed.name}-{number}"
            live = observed.children.get(("ConfigMap", name))
            data = {"cells": str(service.spec.cells)}
            if live is None or live.get("data") != data:
                tracks[name] = (Apply(config_map(name, data)),)
        status = {"cells": len(observed.pods)}
        if service.status != status:
            tracks["status"] = (Status(Ref(SERVICE.api_version, SERVICE.kind, "w", service.uid), status),)
        return Plan(tracks=tracks, look_again_s=0.05)

    @property
    def last(self) -> Observed | None:
        return self.saw[-1] if self.saw else None


def config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": LABELS}, "data": data}


def settled(double: ApiDouble, cells: int = 2) -> Callable[[], bool]:
    def said() -> bool:
        maps = {path for path in double.objects if "/configmaps/" in path}
        service = double.objects.get(SERVICES.path("n", "w"), {})
        return len(maps) >= cells and "status" in service

    return said


async def test_a_change_becomes_children_and_status(double: ApiDouble) -> None:
    async with operating(double, Planner()):
        await until(settled(double))
        double.seed(SERVICES, "n", "w", spec={"cells": 3})
        await until(lambda: CONFIGMAPS.path("n", "w-2") in double.objects)
        await until(lambda: double.get(CONFIGMAPS, "n", "w-0")["data"] == {"cells": "3"})
        double.seed(PODS, "n", "p", metadata={"labels": LABELS})
        await until(lambda: double.get(SERVICES, "n", "w")["status"] == {"cells": 1})
        double.remove(PODS, "n", "p")
        await until(lambda: double.get(SERVICES, "n", "w")["status"] == {"cells": 0})


async def test_nothing_is_written_at_rest_and_nothing_of_kopfs_ever(double: ApiDouble) -> None:
    planner = Planner()
    async with operating(double, planner):
        await until(settled(double))
        looks, writes = len(planner.saw), len(double.writes())
        await until(lambda: len(planner.saw) > looks + 10)  # the plan asks for a look every 50 ms
        assert len(double.writes()) == writes == 3
    for path in (SERVICES.path("n", "w"), FLEETS.path("n", "w")):
        assert not {"finalizers", "annotations"} & set(double.objects[path]["metadata"])


async def test_a_hand_edit_is_repaired_and_a_deleted_child_made_again(double: ApiDouble) -> None:
    async with operating(double, Planner()):
        await until(settled(double))
        double.seed(CONFIGMAPS, "n", "w-0", data={"cells": "by hand"})
        await until(lambda: double.get(CONFIGMAPS, "n", "w-0")["data"] == {"cells": "2"})
        double.remove(CONFIGMAPS, "n", "w-1")
        await until(lambda: CONFIGMAPS.path("n", "w-1") in double.objects)


async def test_no_plan_is_made_of_half_a_list(double: ApiDouble) -> None:
    for name in ("w-0", "w-1"):
        double.seed(CONFIGMAPS, "n", name, metadata={"labels": LABELS}, data={"cells": "2"})
    planner = Planner()
    async with operating(double, planner):
        await until(settled(double))
        assert len(planner.saw[0].children) == 2 and planner.saw[0].fleets
        assert [r.path for r in double.writes()] == [f"{SERVICES.path('n', 'w')}/status"]


async def test_only_what_carries_our_label_is_asked_for(double: ApiDouble) -> None:
    double.seed(CONFIGMAPS, "n", "w-other", metadata={"labels": {"cellwall.dev/service": "w"}})
    planner = Planner()
    async with operating(double, planner):
        await until(settled(double))
        assert planner.last is not None and ("ConfigMap", "w-other") not in planner.last.children
    asked = [r for r in double.log if r.method == "GET" and r.path.endswith(("/configmaps", "/pods"))]
    assert asked and all(r.query["labelSelector"] == "app.kubernetes.io/part-of=cellwall" for r in asked)


async def test_what_went_while_the_watch_was_cut_is_missed_by_a_list(
    double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SWEEP_S", 0.2)
    double.seed(PODS, "n", "p", metadata={"labels": LABELS})
    async with operating(double, Planner()) as operator:
        await until(lambda: double.get(SERVICES, "n", "w").get("status") == {"cells": 1})
        double.remove(PODS, "n", "p", unseen=True)
        await until(lambda: double.get(SERVICES, "n", "w")["status"] == {"cells": 0})
        assert operator.metrics.registry.get_sample_value("cellwall_operator_missed_objects_total") == 1


async def test_an_expired_watch_is_begun_anew(double: ApiDouble) -> None:
    async with operating(double, Planner()):
        await until(settled(double))
        double.end_watches()  # 410 Gone
        double.seed(SERVICES, "n", "w", spec={"cells": 4})
        await until(lambda: CONFIGMAPS.path("n", "w-3") in double.objects)


async def test_refused_credentials_are_tried_again(double: ApiDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "LOGIN_S", 0.1)
    async with operating(double, Planner()) as operator:
        await until(settled(double))
        double.fail = lambda request: 401 if "watch" in request.query else 0
        double.end_watches()
        await until(lambda: [r for r in double.log if "watch" in r.query and double.fail(r)])
        asked = len(double.log)
        await until(lambda: len(double.log) > asked + 20)
        assert not operator.stop.is_set() and operator.elector.leads
        double.fail = lambda request: 0
        double.seed(SERVICES, "n", "w", spec={"cells": 3})
        await until(lambda: CONFIGMAPS.path("n", "w-2") in double.objects)


async def test_an_api_server_that_fails_for_a_while_is_waited_for(double: ApiDouble) -> None:
    double.fail = lambda request: 503 if request.method == "PATCH" else 0
    async with operating(double, Planner()) as operator:
        await until(lambda: sum(r.method == "PATCH" for r in double.log) > 4)
        assert operator.scheduler.oldest_s() < 60
        double.fail = lambda request: 0
        await until(settled(double))


async def test_what_is_forbidden_is_told_to_the_next_plan_and_the_others_go_on(double: ApiDouble) -> None:
    double.fail = lambda request: 403 if request.path.endswith("/configmaps/w-0") else 0
    planner = Planner()
    async with operating(double, planner) as operator:
        await until(lambda: sum(r.path.endswith("/w-0") for r in double.log) > 3)
        assert CONFIGMAPS.path("n", "w-1") in double.objects
        assert list(planner.saw[-1].refused) == ["w-0"] and "configmaps/w-0" in planner.saw[-1].refused["w-0"]
        failed = operator.metrics.registry.get_sample_value(
            "cellwall_operator_actions_total", {"action": "Apply", "outcome": "failed"}
        )
        assert failed and failed > 3
        double.fail = lambda request: 0
        await until(lambda: CONFIGMAPS.path("n", "w-0") in double.objects and planner.saw[-1].refused == {})


async def test_a_plan_that_never_comes_to_rest_is_slowed_down(double: ApiDouble) -> None:
    number = 0

    def plan(observed: Observed, now_s: float) -> Plan:
        nonlocal number
        number += 1
        return Plan(tracks={"w": (Apply(config_map("w-0", {"always": "the same"})),)})

    async with operating(double, plan) as operator:
        outcomes = lambda name: operator.metrics.registry.get_sample_value(  # noqa: E731
            "cellwall_operator_reconcile_seconds_count", {"outcome": name}
        )
        await until(lambda: outcomes("repeated"))


async def test_a_service_that_is_deleted_is_forgotten(double: ApiDouble) -> None:
    async with operating(double, Planner()) as operator:
        await until(settled(double))
        double.remove(SERVICES, "n", "w")
        double.remove(FLEETS, "n", "w")
        await until(lambda: len(operator.scheduler) == 0)
        writes = len(double.writes())
        double.remove(CONFIGMAPS, "n", "w-0")
        double.seed(SERVICES, "n", "v", spec={"cells": 1})
        await until(lambda: CONFIGMAPS.path("n", "v-0") in double.objects)
        assert not [r for r in double.writes()[writes:] if "/w-0" in r.path]


async def test_missing_definitions_are_waited_for(
    double: ApiDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cellwall_operator.__main__.TRY_AGAIN_S", 0.05)
    double.fail = lambda request: 404 if request.path.endswith("/metadatacells") else 0
    with caplog.at_level(logging.ERROR):
        async with operating(double, Planner()) as operator:
            await until(lambda: "install the chart cellwall-crds" in caplog.text)
            assert not operator.listed and not double.writes(leases=True)
            double.fail = lambda request: 0
            await until(settled(double))


async def test_definitions_of_another_version_are_found_out(double: ApiDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SWEEP_S", 0.1)
    planner = Planner()
    async with operating(double, planner):
        await until(settled(double))
        assert planner.saw[-1].installation.definitions == "" and planner.saw[-1].installation.can_resize
        double.definitions["metadatacells.cellwall.dev"] = {"metadata": {}}
        await until(lambda: planner.saw[-1].installation.definitions == "metadatacells.cellwall.dev")
        double.fail = lambda request: 403 if "customresourcedefinitions" in request.path else 0
        await until(lambda: planner.saw[-1].installation.definitions == "")


async def test_only_the_namespaces_asked_for_are_watched(double: ApiDouble) -> None:
    double.seed(SERVICES, "other", "v", spec={"cells": 1})
    planner = Planner()
    async with operating(double, planner, namespaces=("n",)):
        await until(settled(double))
    assert {observed.namespace for observed in planner.saw} == {"n"}
    lists = [r.path for r in double.log if r.path.endswith(("/pods", "/metadataservices"))]
    assert lists and all("/namespaces/n/" in path for path in lists)


async def test_it_shows_its_figures_and_whether_it_lives(double: ApiDouble, unused_tcp_port: int) -> None:
    base = f"http://127.0.0.1:{unused_tcp_port}"
    async with operating(double, Planner(), metrics_port=unused_tcp_port) as operator, aiohttp.ClientSession() as http:
        await until(settled(double))
        async with http.get(f"{base}/readyz") as response:
            assert response.status == 200
        async with http.get(f"{base}/metrics") as response:
            page = await response.text()
        for name in (
            'reconcile_seconds_count{outcome="changed"}',
            'api_writes_total{resource="configmaps",verb="patch"} 2.0',
            "leader 1.0",
            "services 1.0",
            'cached_objects{kind="ConfigMap"} 2.0',
            "oldest_change_seconds 0.0",
        ):
            assert f"cellwall_operator_{name}" in page
        async with http.get(f"{base}/healthz") as response:
            assert response.status == 200
        operator.scheduler._woken["n", "hangs"] = operator.scheduler._monotonic() - 91
        async with http.get(f"{base}/healthz") as response:
            assert response.status == 503
        operator.scheduler._woken.clear()


async def test_the_second_stands_by_until_the_first_ends(double: ApiDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RENEW_S", "GIVE_UP_S", "POLL_S", "REQUEST_S"):
        monkeypatch.setattr(lease, name, getattr(lease, name) / 20)
    first, second = Planner(), Planner()
    async with operating(double, second, identity="two") as two:
        await until(settled(double))
        async with operating(double, first, identity="one") as one:
            await until(lambda: one.listed and LEASES.path("default", "cellwall-operator") in double.objects)
            await asyncio.sleep(0)
            assert two.elector.leads and not one.elector.leads and not first.saw
            two.stop.set()
            await until(lambda: one.elector.leads and first.saw)
            double.seed(SERVICES, "n", "w", spec={"cells": 3})
            await until(lambda: CONFIGMAPS.path("n", "w-2") in double.objects)
            assert double.get(LEASES, "default", "cellwall-operator")["spec"]["holderIdentity"] == "one"

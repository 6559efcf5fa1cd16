"""What the rendered files tell the processes: read with the processes' own types. And what restarts them."""

from __future__ import annotations

from typing import Any

import msgspec

from cellwall.arrivals import Control, LoadConfig
from cellwall.resources import MetadataServiceSpec, StorageFleetSpec
from cellwall.spec import LoadSpec
from cellwall_lab.backends import launch
from cellwall_services.config import FrontendConfig, host_port

from .rendering import VALUES, Object, one, pods, read, render, set_path

EVERYTHING = next(read(path) for path in VALUES if path.stem == "cellwall-testbed.everything")


def world(values: Any = None) -> list[Object]:
    return render("cellwall-testbed", values)


def job(objects: list[Object]) -> Object:
    (found,) = (o for o in objects if o["kind"] == "Job")
    return found


def mounts(pod: Object, container: Object) -> dict[str, str]:
    """Mount path of each ConfigMap, by its name."""
    maps = {v["name"]: v["configMap"]["name"] for v in pod["spec"]["volumes"] if "configMap" in v}
    return {maps[m["name"]]: m["mountPath"] for m in container["volumeMounts"] if m["name"] in maps}


def test_the_front_end_s_settings() -> None:
    objects = world()
    data = one(objects, "ConfigMap", "world-frontend")["data"]
    config = msgspec.json.decode(data["frontend.json"], type=FrontendConfig)
    defaults = FrontendConfig(name="", listen="", map_path="", data_dir="", records="")
    for field in ("replica_timeout_s", "admin_timeout_s", "table_partitions"):
        assert getattr(config, field) == getattr(defaults, field), "one default, in two languages"
    assert host_port(config.listen) == ("0.0.0.0", 8000) and config.records == "/dev/stdout"
    pod = one(objects, "StatefulSet", "world-frontend")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    where = mounts(pod, container)
    assert container["command"][-1] == f"{where['world-frontend']}/frontend.json"
    assert config.map_path == f"{where['world-map']}/map.json"
    (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == "map")
    assert volume["configMap"]["optional"] is True, "it starts before the map is there"
    assert config.data_dir in [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "data"]


def test_the_load_s_settings_and_its_catalogue() -> None:
    objects = world(EVERYTHING)
    data = one(objects, "ConfigMap", "w-load")["data"]
    config = msgspec.json.decode(data["load.json"], type=LoadConfig)
    config.check()
    assert (config.seed, config.endpoint) == (0, "http://w-frontend:8000")
    assert config.load == LoadSpec(rps=80, write_ratio=0.5, keys_per_table=16)
    assert msgspec.json.decode(data["service.json"], type=MetadataServiceSpec).cells == 4
    assert msgspec.json.decode(data["fleet.json"], type=StorageFleetSpec).service == "w"
    control = one(objects, "ConfigMap", "w-load-control")["data"]["load-control.json"]
    assert msgspec.json.decode(control, type=Control) == Control(rps=12.5)

    pod = job(objects)["spec"]["template"]
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "load"
    (first, door), (load,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert door["command"][-1] == f"{config.endpoint}/ready", "no customer before there is a door"
    where = mounts(pod, load)
    assert config.control_path == f"{where['w-load-control']}/load-control.json"
    assert {"name": "CELLWALL_LOAD_CONFIG", "value": f"{where['w-load']}/load.json"} in load["env"]
    catalogue = next(m["mountPath"] for m in first["volumeMounts"] if m["name"] == "catalogue")
    assert first["command"][-1] == config.catalogue_path and config.catalogue_path.startswith(catalogue)
    assert (host_port(config.metrics_listen), config.records) == (("0.0.0.0", 9100), "/dev/stdout")


def test_the_load_is_started_as_locally() -> None:
    (load,) = job(world(EVERYTHING))["spec"]["template"]["spec"]["containers"]
    assert load["args"] == launch.LOCUST_OPTIONS


def test_seed_of_the_load_is_the_world_s() -> None:
    for seed, spec in ((1, {}), (0, {"seed": 0}), (7, {"seed": 7})):
        values = {"load": {"enabled": True}, "service": {"spec": spec}}
        data = one(world(values), "ConfigMap", "world-load")["data"]
        assert msgspec.json.decode(data["load.json"], type=LoadConfig).seed == seed


def test_a_world_of_another_size_keeps_its_numbers() -> None:
    spec = {"cells": 4, "cpu": {"total": "1500m"}, "seed": 2**31, "renewal": {"timeLimitSeconds": 0.25}}
    (service,) = (o for o in world({"service": {"spec": spec}}) if o["kind"] == "MetadataService")
    assert service["spec"] == spec


# ---------------------------------------------------------------- restarts


def front_template(values: Any) -> Any:
    (found,) = (pod for name, pod in pods(world(values)) if name.startswith("StatefulSet"))
    return found


def test_the_front_end_restarts_for_its_own_settings_only() -> None:
    base: dict[str, Any] = {}
    same = front_template(base)
    assert front_template({"service": {"spec": {"cells": 4}}}) == same
    assert front_template({"load": {"enabled": True}}) == same
    assert front_template({"frontEnd": {"tablePartitions": 9}}) != same


def test_a_running_load_is_replaced_only_if_it_would_be_another() -> None:
    base = set_path(EVERYTHING, ("load", "enabled"), True)
    before = job(world(base))

    def after(*path: str, value: Any) -> Object:
        return job(world(set_path(base, path, value)))

    assert before["metadata"]["name"].startswith("w-load-")
    for path, value in (
        (("load", "rps"), 99),
        (("service", "spec"), {**base["service"]["spec"], "cpu": {"total": "800m"}, "cells": 2}),
        (("frontEnd", "tablePartitions"), 2),
    ):
        now = after(*path, value=value)
        assert (now["metadata"]["name"], now["spec"]) == (before["metadata"]["name"], before["spec"]), path
    for path, value in (
        (("image", "tag"), "v10"),
        (("load", "spec"), {"write_ratio": 0.1}),
        (("service", "spec"), {**base["service"]["spec"], "seed": 5}),
        (("fleet", "spec"), {"servers": 300}),
    ):
        assert after(*path, value=value)["metadata"]["name"] != before["metadata"]["name"], path
    assert before["spec"]["backoffLimit"] == 0 and before["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_what_helm_test_runs() -> None:
    objects = world({"service": {"spec": {"cells": 4}}})
    pod = one(objects, "Pod", "world-smoke")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "hook-succeeded" in pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    settings = one(objects, "ConfigMap", "world-smoke")
    assert "annotations" not in settings["metadata"], "helm does not uninstall what is a hook"
    assert msgspec.json.decode(settings["data"]["service.json"], type=MetadataServiceSpec).cells == 4
    assert pod["spec"]["containers"][0]["command"][-1] == "http://world-frontend:8000"
    assert not [o for o in world({"frontEnd": {"enabled": False}}) if o["metadata"]["name"] == "world-smoke"]

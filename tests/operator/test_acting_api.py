"""The API client: paths and media types as a server gets them, and every failure as one of ours."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cellwall_operator import api as module
from cellwall_operator.api import CELLS, CONFIGMAPS, MERGE, PODS, SERVICES, STRATEGIC, Api, configured, kind_of
from cellwall_operator.errors import CellwallError, Conflict, Forbidden, Missing, Refused, Unavailable, Unknown

from . import acting_world as W
from .api_double import ApiDouble, serving


@pytest.fixture
async def double() -> AsyncIterator[ApiDouble]:
    async with serving(ApiDouble()) as found:
        yield found


@pytest.fixture
async def api(double: ApiDouble) -> AsyncIterator[Api]:
    async with W.api(double) as found:
        yield found


def config_map(name: str = "m", **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "n", "name": name}, "data": data}


def test_paths() -> None:
    assert PODS.path("n", "p", "resize") == "/api/v1/namespaces/n/pods/p/resize"
    assert SERVICES.path(None) == "/apis/cellwall.dev/v1alpha1/metadataservices"
    assert kind_of({"apiVersion": "cellwall.dev/v1alpha1", "kind": "MetadataCell"}) is CELLS
    with pytest.raises(Refused, match="Secret"):
        kind_of({"apiVersion": "v1", "kind": "Secret"})


async def test_an_apply_makes_changes_and_removes_what_it_no_longer_names(double: ApiDouble, api: Api) -> None:
    made = await api.apply(config_map(a="1", b="2"))
    assert made["metadata"]["resourceVersion"]
    changed = await api.apply(config_map(a="3"))
    assert changed["data"] == {"a": "3"}
    assert [r.method for r in double.log] == ["PATCH", "PATCH"]


async def test_an_apply_with_a_version_is_refused_if_the_object_has_changed(double: ApiDouble, api: Api) -> None:
    first = await api.apply(config_map(a="1"))
    double.seed(CONFIGMAPS, "n", "m", data={"a": "by hand"})
    body = config_map(a="2")
    body["metadata"] = {"namespace": "n", "name": "m", "resourceVersion": first["metadata"]["resourceVersion"]}
    with pytest.raises(Conflict):
        await api.apply(body)
    assert double.get(CONFIGMAPS, "n", "m")["data"] == {"a": "by hand"}


async def test_patches_say_what_kind_they_are_and_under_another_name_than_applies(double: ApiDouble, api: Api) -> None:
    double.seed(PODS, "n", "p", status={"conditions": [{"type": "Ready", "status": "False"}]})
    ready = {"status": {"conditions": [{"type": "cellwall.dev/joined", "status": "True"}]}}
    pod = await api.patch(PODS, "n", "p", ready, "status", STRATEGIC)
    assert [c["type"] for c in pod["status"]["conditions"]] == ["Ready", "cellwall.dev/joined"]
    pod = await api.patch(PODS, "n", "p", {"metadata": {"annotations": {"a": "1"}}}, how=MERGE)
    assert pod["metadata"]["annotations"] == {"a": "1"}
    assert [r.path.rpartition("/")[2] for r in double.log] == ["status", "p"]
    assert {r.query["fieldManager"] for r in double.log} == {"cellwall-operator-create"}


async def test_lists_come_in_pages_and_say_what_they_are(
    double: ApiDouble, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_OBJECTS", 3)
    for number in range(7):
        double.seed(PODS, "n", f"p{number}", metadata={"labels": {"app": "x" if number else "y"}})
    pages = [items async for items, version in api.list(PODS, None, "app=x")]
    assert [len(items) for items in pages] == [3, 3]
    assert {(i["apiVersion"], i["kind"]) for items in pages for i in items} == {("v1", "Pod")}


async def test_what_is_gone_may_be_deleted_and_another_of_that_name_may_not(double: ApiDouble, api: Api) -> None:
    await api.delete(PODS, "n", "p")
    double.seed(PODS, "n", "p")
    with pytest.raises(Conflict):
        await api.delete(PODS, "n", "p", "an older one")
    await api.delete(PODS, "n", "p", double.get(PODS, "n", "p")["metadata"]["uid"])
    assert not double.objects


async def test_writes_are_counted_and_reads_are_not(double: ApiDouble) -> None:
    counted = []
    async with W.api(double, lambda verb, plural: counted.append((verb, plural))) as api:
        await api.apply(config_map())
        await api.get(CONFIGMAPS, "n", "m")
        double.seed(PODS, "n", "p")
        await api.patch(PODS, "n", "p", {}, "resize", STRATEGIC)
        await api.delete(CONFIGMAPS, "n", "m")
    assert counted == [("patch", "configmaps"), ("patch", "pods/resize"), ("delete", "configmaps")]


async def test_the_version_of_a_server(api: Api) -> None:
    assert await api.version() == (1, 34)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Forbidden),
        (403, Forbidden),
        (404, Missing),
        (409, Conflict),
        (410, Unavailable),
        (422, Refused),
        (429, Unavailable),
        (500, Unknown),
        (503, Unavailable),
        (504, Unknown),
    ],
)
async def test_every_status_has_a_meaning(double: ApiDouble, api: Api, status: int, error: type[CellwallError]) -> None:
    double.fail = lambda request: status
    with pytest.raises(error, match=f"PATCH /api/v1/namespaces/n/configmaps/m: told to fail with {status}") as raised:
        await api.apply(config_map())
    assert type(raised.value) is error


async def test_no_answer_is_unknown_and_no_connection_is_unavailable(
    double: ApiDouble, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    double.hang.clear()
    with pytest.raises(Unknown, match="no answer in time"):
        await api.get(PODS, "n", "p")
    double.hang.set()
    async with Api(W.configuration("http://127.0.0.1:9"), lambda verb, plural: None) as nowhere:
        with pytest.raises(Unavailable):
            await nowhere.get(PODS, "n", "p")


async def test_a_connection_that_breaks_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with Api(W.configuration(f"http://127.0.0.1:{port}"), lambda verb, plural: None) as api:
            with pytest.raises(Unknown):
                await api.get(PODS, "n", "p")


async def test_the_watcher_carries_the_token_of_the_moment(double: ApiDouble) -> None:
    configuration = W.configuration(double.url)
    async with Api(configuration, lambda verb, plural: None) as api:
        server, session = api.session()
        async with session:
            for token in ("first", "second"):
                configuration.api_key["BearerToken"] = f"bearer {token}"
                async with session.get(f"{server}/version"):
                    pass
    assert [r.authorization for r in double.log] == ["bearer first", "bearer second"]


async def test_a_wrong_context_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("apiVersion: v1\nkind: Config\ncontexts: []\nclusters: []\nusers: []\ncurrent-context: ''\n")
    with pytest.raises(Refused, match=r"'kind-nowhere'.*kubectl config get-contexts"):
        await configured(str(file), "kind-nowhere")
    with pytest.raises(Refused, match="kubeconfig"):
        await configured(str(tmp_path / "none"), None)

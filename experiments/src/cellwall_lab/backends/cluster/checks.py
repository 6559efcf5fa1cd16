"""Whether a cluster can hold a world, and which faults it can really do; asked of the API server, nothing is changed.

Decides what is good enough and what to do where it is not. Invariant: what could not be asked is told as such and never
taken for a pass.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec

import cellwall
from cellwall.errors import CellwallError, Refused
from cellwall.resources import VERSION
from cellwall.spec import ZONES

from ...doctor import Check, Grade
from . import failures, helm, names
from .api import Api, Object
from .pods import quantity_cores

PLURALS = ("metadataservices", "metadatacells", "storagefleets")
SCHEMA = "cellwall.dev/schema"  # annotation of a CRD: the fingerprint of its generation
ZONE = "topology.kubernetes.io/zone"
CORES_MIN = 2.0  # design §2: CPU budget of the stuck phase, and the cluster itself
MACHINES = "machines"
RESIZE_MINOR = 33  # the server's minor version from which on pods are resized in place by default
OPERATORS = "/apis/apps/v1/deployments"
OPERATOR_LABELS = "app.kubernetes.io/name=cellwall,app.kubernetes.io/component=operator"
LEASES, LEASE = "/apis/coordination.k8s.io/v1/leases", "cellwall-operator"
LEASE_OLD_S = 15.0  # of an operator that acts: renewed every 3 s, and others may take over after 10 s
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# (group, resource, subresource, verb): everything that this backend does.
RIGHTS = (
    ("", "namespaces", "", "create"),
    ("", "namespaces", "", "delete"),
    ("", "pods", "", "watch"),
    ("", "pods", "", "patch"),
    ("", "pods", "", "delete"),
    ("", "pods", "log", "get"),
    ("", "pods", "proxy", "get"),
    ("", "pods", "proxy", "create"),
    ("", "pods", "proxy", "update"),
    ("", "pods", "proxy", "delete"),
    ("", "services", "proxy", "get"),
    ("", "configmaps", "", "patch"),
    ("cellwall.dev", "metadataservices", "", "patch"),
    ("cellwall.dev", "metadatacells", "", "patch"),
    ("discovery.k8s.io", "endpointslices", "", "list"),
)


def examine(context: str) -> list[Check]:
    """All checks of a context's cluster."""

    async def work() -> list[Check]:
        api = await Api.connect(context)
        try:
            return [check async for check in checks(api)]
        finally:
            await api.close()

    return asyncio.run(work())


async def checks(api: Api) -> AsyncIterator[Check]:
    """All checks, one after the other. A cluster that cannot be reached ends them."""
    try:
        version = await api.get("/version")
    except CellwallError as error:
        yield Check("cluster", "bad", f"{error}; is the cluster up, and is --context {api.context} the right one?")
        return
    yield Check("cluster", "ok", f"{version.get('gitVersion')} at {api.server}")
    for name, check in (
        ("helm", _helm),
        ("crds", _crds),
        ("operator", _operator),
        ("rights", _rights),
        ("zones", _zones),
        ("cpu", _cpu),
        (MACHINES, _machines),
    ):
        try:
            yield await check(api)
        except CellwallError as error:
            yield Check(name, "bad", str(error))
    yield _resize(version)


def faults(found: Sequence[Check]) -> dict[str, str]:
    """Which faults this cluster can do, and how."""
    grades = {check.name: check.grade for check in found}

    machines = next((check for check in found if check.name == MACHINES), None)

    def can(needs: Sequence[str], how: str) -> str:
        bad = [name for name in needs if grades.get(name, "bad") == "bad"]
        return f"no: see {', '.join(bad)}" if bad else f"yes ({how})"

    return {
        "cut": can(["cluster", "crds", "operator", "rights"], "a gate in the storage pods, through the pod proxy"),
        "pause": can(["cluster", "crds", "operator", "rights"], "the renewal Service loses its endpoints"),
        "limit-cpu": can(["cluster", "crds", "operator", "rights", "resize"], "pods are resized in place"),
        "weight": can(["cluster", "crds", "operator", "rights"], "a metadata partition's slots"),
        "kill": can(["cluster", "crds", "operator", "rights"], "pods are deleted with grace 0, and replaced"),
        "node-loss": f"yes ({machines.text})"
        if machines is not None and machines.grade == "ok"
        else f"no: {machines.text if machines is not None else 'see cluster'}",
        "release": "no: a MetadataCell has no release of its own; --backend local",
        "poison": can(["cluster", "crds", "operator", "rights"], "indexes, through the customers' door"),
    }


async def refuse_unfit(api: Api) -> None:
    """Raises the first thing without which no world can be brought up."""
    async for check in checks(api):
        if check.grade == "bad" and check.name in ("cluster", "helm", "crds", "operator", "rights"):
            raise Refused(f"context {api.context}: {check.name}: {check.text}")
    helm.chart()


async def is_here(api: Api) -> bool:
    """Whether the cluster's machines are this one: kind says so of its nodes."""
    nodes = (await api.get(names.NODES))["items"]
    return bool(nodes) and all(node["spec"].get("providerID", "").startswith("kind://") for node in nodes)


async def _helm(_: Api) -> Check:
    return Check("helm", "ok", await helm.version())


async def _crds(api: Api) -> Check:
    advice = "`make install CONTEXT=…`, or helm upgrade --install cellwall-crds charts/cellwall-crds"
    shipped = _shipped()
    for plural in PLURALS:
        found = await api.find(names.crd(plural))
        if found is None:
            return Check("crds", "bad", f"{plural} is not defined; {advice}")
        served = [version["name"] for version in found["spec"]["versions"] if version.get("served")]
        if VERSION not in served:
            return Check("crds", "bad", f"{plural} is served as {', '.join(served)}, not as {VERSION}; {advice}")
        mark = found["metadata"].get("annotations", {}).get(SCHEMA, "none")
        if plural in shipped and mark != shipped[plural]:
            text = f"{plural} is of another version (schema {mark}, {shipped[plural]} is this one's); {advice}"
            return Check("crds", "bad", text)
    return Check("crds", "ok", f"{', '.join(PLURALS)} {VERSION}")


def _shipped() -> dict[str, str]:
    """The fingerprints of the definitions that come with this version; none where the charts are not here."""
    try:
        folder = helm.chart().parent / "cellwall-crds" / "templates"
    except Refused:
        return {}
    found = {}
    for plural in PLURALS:
        path = folder / f"{plural}.yaml"
        match = re.search(rf"{re.escape(SCHEMA)}: *\"?(\w+)", path.read_text()) if path.is_file() else None
        if match is not None:
            found[plural] = match[1]
    return found


async def _operator(api: Api) -> Check:
    """One that will do, of however many there are."""
    found = (await api.get(OPERATORS, labelSelector=OPERATOR_LABELS))["items"]
    checked = [_installed(deployment) for deployment in found]
    good = next((check for check in checked if check.grade == "ok"), None)
    if good is not None:
        return good
    outside = await _outside(api)
    return outside if outside.grade != "bad" or not checked else checked[0]


def _installed(deployment: Object) -> Check:
    name = f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
    if not deployment.get("status", {}).get("readyReplicas"):
        return Check("operator", "bad", f"{name} has no pod that is ready; see its events and logs")
    version = deployment["metadata"].get("labels", {}).get("app.kubernetes.io/version", "unknown")
    if version != cellwall.__version__:
        text = f"{name} is version {version}, this is {cellwall.__version__}; upgrade it, or use that version's lab"
        return Check("operator", "bad", text)
    arguments = [a for c in deployment["spec"]["template"]["spec"]["containers"] for a in c.get("args") or ()]
    if only := [a for a in arguments if a.startswith("--namespaces")]:
        text = f"{name} runs with {only[0]}, and each run has a namespace of its own; let it watch all of them"
        return Check("operator", "bad", text)
    return Check("operator", "ok", f"{name} {version}")


async def _outside(api: Api) -> Check:
    """An operator that somebody runs beside the cluster shows in its lease alone."""
    answer = await api.request("GET", LEASES, query={"fieldSelector": f"metadata.name={LEASE}"})
    now_s = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
    leases = msgspec.json.decode(answer.body).get("items", []) if answer.status == 200 else []
    for lease in leases:
        renewed = datetime.fromisoformat(lease["spec"].get("renewTime") or "1970-01-01T00:00:00Z").timestamp()
        if now_s - renewed < LEASE_OLD_S:
            holder = f"{lease['spec'].get('holderIdentity')} ({lease['metadata']['namespace']}/{LEASE})"
            return Check("operator", "doubtful", f"runs beside the cluster as {holder}; it must watch all namespaces")
    return Check("operator", "bad", "is not installed; `make install CONTEXT=…` installs it and the definitions")


async def _rights(api: Api) -> Check:
    lacking = []
    for group, resource, subresource, verb in RIGHTS:
        wanted = {"group": group, "resource": resource, "subresource": subresource, "verb": verb}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        answer = await api.create(REVIEWS, {**review, "spec": {"resourceAttributes": wanted}})
        if not answer.get("status", {}).get("allowed"):
            lacking.append(f"{verb} {resource}{'/' if subresource else ''}{subresource}")
    if lacking:
        return Check("rights", "bad", f"may not {', '.join(lacking)}; ask for a role with these verbs")
    return Check("rights", "ok", f"all {len(RIGHTS)} that are needed")


async def _zones(api: Api) -> Check:
    zones = sorted({_zone(node) for node in (await api.get(names.NODES))["items"]} - {""})
    if set(ZONES) <= set(zones):
        return Check("zones", "ok", ", ".join(zones))
    text = f"{', '.join(zones) or 'no node has one'}; pods are spread as they come, and a zone cannot be lost alone"
    return Check("zones", "doubtful", text)


def _zone(node: Object) -> str:
    return str(node["metadata"].get("labels", {}).get(ZONE, ""))


async def _machines(api: Api) -> Check:
    """Whether a machine can be lost: a worker of a kind cluster whose Docker is here."""
    nodes = [str(node["metadata"]["name"]) for node in (await api.get(names.NODES))["items"]]
    said = "it has no node"
    for node in nodes:
        try:
            machine = await failures.machine_of(api, node)
        except CellwallError as error:
            said = str(error).removeprefix("node-loss: ")
        else:
            return Check(MACHINES, "ok", f"docker stops and starts a worker, such as {machine}")
    return Check(MACHINES, "doubtful", said)


async def _cpu(api: Api) -> Check:
    nodes = (await api.get(names.NODES))["items"]
    # kind's nodes all say the same machine; its cores count once.
    each = [quantity_cores(node["status"]["allocatable"]["cpu"]) for node in nodes]
    total = max(each, default=0.0) if await is_here(api) else sum(each)
    grade: Grade = "ok" if total >= CORES_MIN else "doubtful"
    return Check("cpu", grade, f"{total:g} cores" + ("" if grade == "ok" else f"; {CORES_MIN:g} are needed"))


def _resize(version: Object) -> Check:
    minor = int(re.sub(r"\D", "", str(version.get("minor", "0"))) or 0)
    if minor >= RESIZE_MINOR:
        return Check("resize", "ok", "pods are resized in place")
    text = (
        f"Kubernetes 1.{minor} resizes no pod in place (1.{RESIZE_MINOR} does): a changed CPU limit starts nodes anew"
    )
    return Check("resize", "bad", text)

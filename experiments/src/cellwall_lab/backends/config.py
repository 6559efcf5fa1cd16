"""What a backend is told on its command line: one arm's world and where to leave its records.

Decides the form of ARM_CONFIG.json; never what is in it (that is `experiment.resolve`). Any module that
takes such a file, prints "ready" once `<out>/world.sock` accepts verbs and the fleet is up, and exits 3
with one line on stderr when it refuses the world, is a backend: `--backend my_package.my_backend`.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from cellwall.errors import Refused
from cellwall.spec import WorldSpec

BUILT_IN = ("local", "simulation", "kubernetes")
SIDE_BY_SIDE = ("simulation",)  # arms that may run at once: no clock of this machine is in their figures
IN_CONTEXT = ("kubernetes",)  # backends that act on a cluster: always one that is named
REFUSED_STATUS = 3  # a backend's exit status for a world that it refuses
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Patience(msgspec.Struct, frozen=True):
    """How long a world may take to be ready, and from the answer to Stop (or a signal) until its process is gone."""

    ready_s: float
    exit_s: float


# The local backend fills a store and starts a fleet in up to 60 s; three times that on a busy host. Its end: a guess.
PATIENCE = Patience(ready_s=180.0, exit_s=30.0)
# Pods: `cluster.bringup` gives up first, after 600 s and a calibration; their namespace may take two minutes to go.
PATIENCE_WITH = {"kubernetes": Patience(ready_s=900.0, exit_s=180.0)}


class ArmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One arm. ``out`` is the arm's folder, absolute. ``calibration``: a file that the base arm of the same
    run left behind (`<arm>/calibration.json`); None: calibrate here and leave it there. ``force`` turns the
    cell size rule into a warning. ``name`` and ``page_port`` are a living world's (`cellwall up`): what it is called,
    and where its page is served on the loopback; None: it has no page. ``context``: the cluster, by its name in the
    kubeconfig; empty on the other backends."""

    arm: str
    backend: str
    seed: int
    spec: WorldSpec
    out: str
    calibration: str | None = None
    force: bool = False
    name: str = ""
    page_port: int | None = None
    context: str = ""

    def write(self, path: Path) -> None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")

    @classmethod
    def read(cls, path: Path) -> ArmConfig:
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise Refused(f"{path}: cannot be read ({error.strerror})") from None
        except msgspec.DecodeError as error:
            raise Refused(f"{path}: not an arm's configuration ({error})") from None


def backend_module(backend: str) -> str:
    """The module that a backend's name stands for."""
    if backend in BUILT_IN:
        return f"cellwall_lab.backends.{backend}"
    if "." in backend and _MODULE.fullmatch(backend):
        return backend
    raise Refused(
        f"backend: {backend!r} is not allowed; it must be {', '.join(BUILT_IN)} or the dotted name of a module"
    )


def patience(backend: str) -> Patience:
    return PATIENCE_WITH.get(backend, PATIENCE)


def check_context(backend: str, context: str) -> None:
    """A cluster is always named, never the kubeconfig's current one by accident."""
    if backend in IN_CONTEXT and not context:
        raise Refused(f"--context: missing; --backend {backend} needs the name of a context of the kubeconfig")
    if context and backend not in IN_CONTEXT:
        raise Refused(f"--context: {context!r} is not allowed with --backend {backend}, which has no cluster")

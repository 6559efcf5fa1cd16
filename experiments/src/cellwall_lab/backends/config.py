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

BUILT_IN = ("local", "simulation")
SIDE_BY_SIDE = ("simulation",)  # arms that may run at once: no clock of this machine is in their figures
REFUSED_STATUS = 3  # a backend's exit status for a world that it refuses
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class ArmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One arm. ``out`` is the arm's folder, absolute. ``calibration``: a file that the base arm of the same
    run left behind (`<arm>/calibration.json`); None: calibrate here and leave it there. ``force`` turns the
    cell size rule into a warning. ``name`` and ``page_port`` are a living world's (`cellwall up`): what it is called,
    and where its page is served on the loopback; None: it has no page."""

    arm: str
    backend: str
    seed: int
    spec: WorldSpec
    out: str
    calibration: str | None = None
    force: bool = False
    name: str = ""
    page_port: int | None = None

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
    raise Refused(f"backend: {backend!r} is not allowed; it must be local, simulation or the dotted name of a module")

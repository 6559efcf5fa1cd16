"""What a world's customers may ask for, from its custom resources: the load Job's first step.

    python -m cellwall_lab.catalogue service.json fleet.json catalogue.json

Decides nothing: `placement` makes the layout, `backends.catalogue` the shares. Also what other modules take the
layout of two specs from. Imports the core only beside these: the services' image has neither the lab's command line
nor its figures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec

from cellwall.errors import CellwallError, Refused
from cellwall.placement import Layout, make_layout
from cellwall.resources import MetadataServiceSpec, StorageFleetSpec, world
from cellwall.spec import LoadSpec

from .backends.catalogue import make_catalogue

S = TypeVar("S", MetadataServiceSpec, StorageFleetSpec)


def read_spec(path: Path, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{path}: {error}") from None


def read_layout(service: Path, fleet: Path) -> Layout:
    """The layout of the world that the two files describe; the one that the loader fills the stores with."""
    spec = world(read_spec(service, MetadataServiceSpec), read_spec(fleet, StorageFleetSpec), LoadSpec())
    spec.check(force=True)  # cell sizes are the operator's to judge
    return make_layout(spec, lambda name: Random(f"{spec.seed}/{name}"))


def main(argv: list[str]) -> int:
    try:
        if len(argv) != 3:
            raise Refused("usage: SERVICE.json FLEET.json CATALOGUE.json, the first two being the resources' specs")
        service, fleet, out = map(Path, argv)
        catalogue = msgspec.json.encode(make_catalogue(read_layout(service, fleet)))
        try:
            out.write_bytes(catalogue)
        except OSError as error:
            raise Refused(f"{out}: cannot be written ({error.strerror})") from None
    except CellwallError as error:
        print(f"catalogue: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

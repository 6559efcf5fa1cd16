"""Each service's settings, read once from one JSON file: typed, frozen, unknown keys refused.

The same files are written by the local backend and mounted from a ConfigMap on Kubernetes. Never read
from the environment, so that a run folder holds everything a process was started with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cellwall.errors import Refused
from cellwall.spec import MetadataPolicy, Release, RenewalPolicy


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One metadata node. ``renewal_fd`` is an inherited listening socket (its owner may close it from
    outside: that is a pause); without one the node binds ``renewal_listen`` itself. Addresses are "host:port".
    ``sample_every_s``: how often it records what it has in hand. ``begins_empty``: the cell was added to a running
    service, so its store is not filled: its servers come to it, group by group. ``release``: what this release of the
    node does wrong."""

    node: str
    cell: str
    store_url: str
    admin_listen: str
    renewal_listen: str = ""
    renewal_fd: int = -1
    policy: MetadataPolicy = MetadataPolicy()
    records: str
    sample_every_s: float = 1.0
    begins_empty: bool = False
    release: Release = Release()


class HostConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One storage host: the process that carries the logical servers of a zone (``servers``: ids).

    ``map_path`` is the published cell map, followed by its modification time. ``data_dir`` holds one
    SQLite file per server."""

    name: str
    zone: str
    servers: list[str]
    listen: str
    map_path: str
    data_dir: str
    seed: int
    renewal: RenewalPolicy = RenewalPolicy()
    records: str


class FrontendConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The front end. ``replica_timeout_s`` bounds one replica's answer within a customer's request.
    ``table_partitions``: partitions of a new table and of each of its indexes (4 is a guess)."""

    name: str
    listen: str
    map_path: str
    data_dir: str
    replica_timeout_s: float = 0.8
    admin_timeout_s: float = 4.0
    table_partitions: int = 4
    records: str


C = TypeVar("C", NodeConfig, HostConfig, FrontendConfig)


def load(kind: type[C], argv: list[str] | None = None) -> C:
    """The settings in the file that the command line names; exit 3 with one line if they are wrong.

    Further arguments, "field=text", set what a file that several processes share cannot say: a pod's own name."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or not all("=" in argument for argument in arguments[1:]):
        raise SystemExit(f"usage: FILE [FIELD=TEXT…], FILE being a {kind.__name__} in JSON; got {arguments}")
    try:
        settings = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=dict[str, Any])
        return msgspec.convert(settings | dict(argument.split("=", 1) for argument in arguments[1:]), type=kind)
    except OSError as error:
        raise Refused(f"{arguments[0]}: cannot be read ({error.strerror})") from None
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Refused(f"{arguments[0]}: {error}") from None


def host_port(address: str) -> tuple[str, int]:
    """ "127.0.0.1:4711" -> ("127.0.0.1", 4711)."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise Refused(f"address: {address!r} is not host:port")
    return host, int(port)

"""What `cellwall up` tells a person at a terminal: where the world is, and what to try.

Decides words only.
"""

from __future__ import annotations

import sys

from rich.console import Console

from . import registry
from .registry import Entry
from .up import Addresses, Plan

UP = """world {entry.name} is up

  front end       {where.frontend}   (DynamoDB JSON; the access key names the customer, no signature is checked)
  live page       {where.page}
  run folder      {entry.folder}

Put and read items:

  import boto3
  db = boto3.client("dynamodb", endpoint_url="{where.frontend}", region_name="us-east-1",
                    aws_access_key_id="me", aws_secret_access_key="unchecked")

  AWS_ACCESS_KEY_ID=me AWS_SECRET_ACCESS_KEY=unchecked aws dynamodb list-tables \\
    --endpoint-url {where.frontend} --region us-east-1

(After  eval "$(cellwall env{world})"  both need no arguments: boto3.client("dynamodb"), aws dynamodb list-tables.)

Metrics:
"""
NEXT = """
Try next, in another terminal:

  cellwall watch{world}
  cellwall cut{world} --domain 0 --for-s 3
  cellwall explain{world} s-0000

Ctrl-C here ends the world."""


class Telling:
    """Tells a person at a terminal where the world is, and what to try."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True, highlight=False, markup=False)

    def starting(self, entry: Entry, plan: Plan) -> None:
        spec = plan.run.spec
        cells = "1 cell" if spec.cells == 1 else f"{spec.cells} cells"
        for warning in plan.run.warnings:
            print(f"cellwall: warning: {warning}", file=sys.stderr)
        self._console.print(
            f"world {entry.name}: starting {spec.fleet.servers} storage servers in {cells}, seed {spec.seed}; "
            "about a minute"
        )

    def up(self, entry: Entry, where: Addresses) -> None:
        self._console.print(UP.format(entry=entry, where=where, world=_world_word(entry)))
        for name, url in where.metrics.items():
            self._console.print(f"  {name:<16}{url}")
        self._console.print(NEXT.format(world=_world_word(entry)))

    def ending(self, entry: Entry) -> None:
        self._console.print(f"world {entry.name}: ending; its records are merged")


def _world_word(entry: Entry) -> str:
    """Nothing while a command would find this world by itself."""
    return "" if len(registry.running()) == 1 else f" --world {entry.name}"

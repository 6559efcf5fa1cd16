"""Write and read one item of a customer of each cell, as a customer would: what `helm test` runs.

    python -m cellwall_lab.smoke service.json fleet.json http://FRONTEND:8000

Decides whose table is used (each cell's first customer by name) and what counts: a put is acknowledged and a
consistent read finds what it wrote. Never asks twice: boto3's own retries are off. Prints a line a cell; the exit
status is 1 if any cell failed. The item stays in the customer's table, under a key that no load uses.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cellwall.errors import CellwallError, Refused, Unavailable
from cellwall.placement import Layout

from .catalogue import read_layout

KEY = "smoke-test"
TIMEOUT_S = 5.0  # above the front end's own limit for an answer, so that its words are seen


class Sample(NamedTuple):
    """The table that stands for a cell."""

    cell: str
    customer: str
    table: str
    hash_key: str


def samples(layout: Layout) -> list[Sample]:
    """One table for each cell that has customers. A striped table stands for several."""
    homes = layout.customers()
    found: dict[str, Sample] = {}
    for table in sorted((table.info for table in layout.tables), key=lambda info: (info.customer, info.id)):
        for cell in homes[table.customer]:
            found.setdefault(cell, Sample(cell, table.customer, table.name, table.hash_key))
    return [found[cell] for cell in sorted(found)]


def write_and_read(client: Any, sample: Sample) -> None:
    """Raises Unavailable if the customer is not served."""
    item = {sample.hash_key: {"S": KEY}, "written_ns": {"N": str(time.time_ns())}}
    try:
        client.put_item(TableName=sample.table, Item=item)
        key = {sample.hash_key: item[sample.hash_key]}
        read = client.get_item(TableName=sample.table, Key=key, ConsistentRead=True)
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(str(error)) from None
    if read.get("Item") != item:
        raise Unavailable(f"wrote {item}, a consistent read found {read.get('Item')}")


def customer(endpoint: str, name: str) -> Any:
    """A client of the customer; the access key names it, the secret is not checked."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S)
    session = boto3.session.Session(aws_access_key_id=name, aws_secret_access_key="unused", region_name="us-east-1")
    return session.client("dynamodb", endpoint_url=endpoint, config=config)


def main(argv: list[str]) -> int:
    try:
        if len(argv) != 3:
            raise Refused("usage: SERVICE.json FLEET.json ENDPOINT, the first two being the resources' specs")
        tables = samples(read_layout(Path(argv[0]), Path(argv[1])))
    except CellwallError as error:
        print(f"smoke: {error}", file=sys.stderr)
        return 3
    failed = 0
    for sample in tables:
        client, began_s = customer(argv[2], sample.customer), time.monotonic()
        try:
            write_and_read(client, sample)
            took_ms = 1000 * (time.monotonic() - began_s)
            print(f"{sample.cell}: {sample.customer} wrote and read {sample.table} in {took_ms:.0f} ms", flush=True)
        except Unavailable as error:
            failed += 1
            print(f"{sample.cell}: {sample.customer} is not served: {error}", flush=True)
        finally:
            client.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

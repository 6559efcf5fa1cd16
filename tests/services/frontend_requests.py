"""Requests as the front end parses them, and a table that they are about."""

from __future__ import annotations

import json
from typing import Any

from cellwall.model import IndexInfo, TableInfo
from cellwall_services.frontend import protocol, values

ITEM = {"pk": {"S": "a"}}


def parse(name: str, body: Any) -> Any:
    return protocol.parse(name, json.dumps(body).encode())


INFO = TableInfo(
    "t-1",
    "visits",
    "alice",
    4,
    range_key="sk",
    range_type="N",
    indexes=(
        IndexInfo("by-gk", 4, "gk", "S", "n", "N", "KEYS_ONLY"),
        IndexInfo("whole", 4, "gk", "S"),
        IndexInfo("some", 4, "gk", "S", projection="INCLUDE", non_key=("v", "absent")),
        IndexInfo("new", 4, "gk", "S", status="CREATING"),
        IndexInfo("old", 4, "gk", "S", status="DELETING"),
    ),
)
WHOLE: values.Item = {
    "pk": {"S": "a"},
    "sk": {"N": "7"},
    "gk": {"S": "g"},
    "n": {"N": "1"},
    "v": {"S": "v"},
    "w": {"L": []},
}

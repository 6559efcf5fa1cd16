"""Two implementations of one protocol, asked the same: how an answer is normalised, compared and accounted for.

A `Case` is one call (or all pages of one). Each side answers it through boto3, without its client-side checks, or as
the bare bytes if boto3 would not send such a thing. Compared are the outcome (done, or the error's code and status)
and, if both are done, every member of the answer. Messages are not: ours name the place.

Accepted differences stand in docs/protocol.md and nowhere else; `accepted` reads them.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

PROTOCOL_PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
HEADING = "## Accepted differences"
PAGES_MAX = 60  # of one paged call; more means that paging does not end
SETTLE_S = 30.0
LAG_S = 10.0
ABSENT = "absent"

# Times, and names that an implementation makes up.
MADE_UP = {"CreationDateTime", "TableArn", "IndexArn", "TableId", "LastUpdateToPayPerRequestDateTime"}


class Case(NamedTuple):
    """``how``: call (boto3), pages (boto3, until LastEvaluatedKey is gone), raw (``body`` as JSON, or bytes).
    ``unordered``: the protocol promises no order of the items."""

    id: str
    op: str
    body: Any
    how: str = "call"
    unordered: bool = False


class Answer(NamedTuple):
    outcome: str  # done | an error's code, with its status if that is not 400
    body: Any


class Difference(NamedTuple):
    """``member``: path within the answer, lists as []; "outcome" if one side refused or failed."""

    case: str
    member: str
    ours: str
    theirs: str


class Accepted(NamedTuple):
    """One row of the table, for one of its calls; * stands for any text."""

    case: str
    member: str
    ours: str
    theirs: str

    def covers(self, difference: Difference) -> bool:
        return all(_like(wanted, found) for found, wanted in zip(difference, self, strict=True))


class Side:
    """One implementation, as one customer sees it."""

    def __init__(self, url: str, customer: str) -> None:
        self._url = url
        self._customer = customer
        self.client = boto3.client(
            "dynamodb",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=customer,
            aws_secret_access_key="not-checked",
            config=Config(
                parameter_validation=False,
                retries={"max_attempts": 1, "mode": "standard"},
                connect_timeout=5,
                read_timeout=20,
            ),
        )

    def answer(self, case: Case) -> Answer:
        if case.how == "raw":
            return self._raw(case)
        try:
            body = self._pages(case) if case.how == "pages" else self.client._make_api_call(case.op, case.body)
        except ClientError as error:
            found = error.response
            return _failed(found["Error"]["Code"], found["ResponseMetadata"]["HTTPStatusCode"])
        body.pop("ResponseMetadata", None)
        return Answer("done", normal(body, case.unordered))

    def _pages(self, case: Case) -> dict[str, Any]:
        """What a caller has in the end, and how it was cut into pages."""
        request = dict(case.body)
        items: list[Any] = []
        counts = []
        for _ in range(PAGES_MAX):
            page = self.client._make_api_call(case.op, request)
            items += page.get("Items", [])
            counts.append(page["Count"])
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        else:
            raise AssertionError(f"{case.id}: more than {PAGES_MAX} pages at {self._url}")
        while counts and not counts[-1]:  # whether a last page that is empty comes is left open by the protocol
            counts.pop()
        return {"Items": items, "Counts": [sum(counts)] if case.unordered else counts}

    def _raw(self, case: Case) -> Answer:
        data = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{case.op}",
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Date": "20150920T021900Z",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self._customer}/20150920/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=unsigned",
        }
        request = urllib.request.Request(self._url + "/", data=data, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer("done", normal(json.loads(response.read()), case.unordered))
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            try:
                code = json.loads(text)["__type"].rpartition("#")[2]
            except (ValueError, KeyError, TypeError):
                code = "unreadable"
            return _failed(code, error.code)

    def settle(self, table: str) -> None:
        """Wait until the table and all its indexes are ACTIVE, or the table is gone."""
        end_s = time.monotonic() + SETTLE_S
        while time.monotonic() < end_s:
            try:
                found = self.client.describe_table(TableName=table)["Table"]
            except self.client.exceptions.ResourceNotFoundException:
                return
            indexes = found.get("GlobalSecondaryIndexes", [])
            if {found["TableStatus"], *(index["IndexStatus"] for index in indexes)} == {"ACTIVE"}:
                return
            time.sleep(0.05)
        raise AssertionError(f"{table} is not settled after {SETTLE_S:g} s at {self._url}: {found}")

    def drop_others(self, keep: Collection[str]) -> None:
        """Drop what a side made although it should not have."""
        for name in self.client.list_tables()["TableNames"]:
            if name not in keep:
                self.client.delete_table(TableName=name)

    def close(self) -> None:
        self.client.close()


class Tally:
    """What was asked, and what came out differently."""

    def __init__(self, ours: Side, theirs: Side, rows: list[Accepted]) -> None:
        self.ours, self.theirs = ours, theirs
        self.rows = rows
        self.compared = 0
        self.equal = 0
        self.found: list[Difference] = []

    def run(self, case: Case) -> list[Difference]:
        """The differences that no row covers. A read that promises no more than what was true once is asked again:
        one replica of three may answer it, and one of three may be late."""
        theirs, end_s = self.theirs.answer(case), time.monotonic() + LAG_S
        while True:
            new = differences(case.id, self.ours.answer(case), theirs)
            if not self.unlisted(new) or not may_lag(case) or time.monotonic() > end_s:
                break
            time.sleep(0.02)
        self.compared += 1
        self.equal += not new
        self.found += new
        return self.unlisted(new)

    def unlisted(self, found: Collection[Difference]) -> list[Difference]:
        return [difference for difference in found if not any(row.covers(difference) for row in self.rows)]

    def settle(self, *tables: str) -> None:
        for table in tables:
            self.ours.settle(table)
            self.theirs.settle(table)


def may_lag(case: Case) -> bool:
    """Whether it reads without asking for consistency."""
    return case.op in ("GetItem", "Query", "Scan", "BatchGetItem") and "ConsistentRead" not in str(case.body)


def differences(case: str, ours: Answer, theirs: Answer) -> list[Difference]:
    if ours.outcome != theirs.outcome:
        return [Difference(case, "outcome", ours.outcome, theirs.outcome)]
    found = {Difference(case, member, a, b) for member, a, b in _unequal("", ours.body, theirs.body)}
    return sorted(found)


def accepted(page: str) -> list[Accepted]:
    """The page's table of accepted differences. Its first four columns are code; the first may name several calls."""
    section = page.partition(HEADING)[2].partition("\n## ")[0]
    rows = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) >= 4:
            member, ours, theirs = (cell.strip("`") for cell in cells[1:4])
            rows += [Accepted(case, member, ours, theirs) for case in re.findall(r"`([^`]+)`", cells[0])]
    return rows


def normal(value: Any, unordered: bool = False) -> Any:
    """Without what an implementation makes up; sets, and lists of names, in one order."""
    if isinstance(value, dict):
        out = {k: normal(v, unordered) for k, v in value.items() if k not in MADE_UP and k != "ResponseMetadata"}
        for kind in ("SS", "NS", "BS"):
            if len(out) == 1 and isinstance(out.get(kind), list):
                out[kind] = sorted(out[kind], key=str)
        for listed in ("AttributeDefinitions", "GlobalSecondaryIndexes", "NonKeyAttributes"):
            if isinstance(out.get(listed), list):
                out[listed] = sorted(out[listed], key=_text)
        if unordered:
            for listed in ("Items", *(out.get("Responses") or {})):
                holder = out if listed == "Items" else out["Responses"]
                if isinstance(holder.get(listed), list):
                    holder[listed] = sorted(holder[listed], key=_text)
        return out
    if isinstance(value, list):
        return [normal(member, unordered) for member in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def _failed(code: str, status: int) -> Answer:
    return Answer(code if status == 400 else f"{code} {status}", None)


def _unequal(path: str, ours: Any, theirs: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            below = f"{path}.{name}" if path else name
            if name in ours and name in theirs:
                yield from _unequal(below, ours[name], theirs[name])
            else:
                yield below, _text(ours.get(name, ABSENT)), _text(theirs.get(name, ABSENT))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for a, b in zip(ours, theirs, strict=True):
            yield from _unequal(path + "[]", a, b)
    elif ours != theirs or type(ours) is not type(theirs):
        yield path, _text(ours), _text(theirs)


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def start_moto(port: int, log: Path) -> subprocess.Popen[bytes]:
    """moto's server as a process of its own: what it warns of is not ours to fail on."""
    with log.open("wb") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    end_s = time.monotonic() + SETTLE_S
    while time.monotonic() < end_s:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=2):
                return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError(f"moto's server did not come up: {log.read_text()}")

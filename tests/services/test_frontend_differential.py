"""The front end of a real world beside another implementation (moto's server): same calls, same answers.

Every difference that is accepted is a row in docs/protocol.md; one that is not listed fails, and so does a row that
nothing shows any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from cellwall_lab import children, experiment, session, settings
from cellwall_lab.backends.processes import free_port

from . import differential as D
from . import differential_cases as C
from . import differential_errors as E

# Real processes: a store, a metadata node, three storage hosts, the front end. Quick, and far from any outage.
WORLD = (
    *("fleet.servers=12", "fleet.group_servers=6", "fleet.large_records=40", "fleet.mid_share=0"),
    *("metadata.partitions=2", "renewal.renew_every_s=2", "renewal.time_limit_s=0.9"),
    *("cpu.total_cores=1.0", "load.rps=0"),
)


@pytest.fixture(scope="module")
def tally(tmp_path_factory: pytest.TempPathFactory) -> Iterator[D.Tally]:
    """Both implementations, started; the tally of what they were asked."""
    rows = D.accepted(D.PROTOCOL_PAGE.read_text())
    assert rows, "the page has no table of accepted differences"
    folder = tmp_path_factory.mktemp("differential")
    arm = experiment.resolve(experiment.load("september-2015"), "monolith", overrides=settings.parse(list(WORLD)))
    with ExitStack() as stack:
        port = free_port()
        moto = D.start_moto(port, folder / "moto.log")
        stack.callback(children.end, moto, 0.0)
        world = session.World(arm, "local", folder / "world")
        stack.callback(world.abort)
        world.start()
        listen = json.loads((folder / "world" / "configs" / "frontend.json").read_text())["listen"]
        sides = [
            stack.enter_context(closing(D.Side(url, "alice")))
            for url in (f"http://{listen}", f"http://127.0.0.1:{port}")
        ]
        yield D.Tally(sides[0], sides[1], rows)
        assert not world.trouble()


def test_same_calls_same_answers(tally: D.Tally, capsys: pytest.CaptureFixture[str]) -> None:
    run_all(tally, C.setup())
    tally.settle(*C.TABLES)
    for part in (C.fill, C.describe, C.items, C.queries, C.scans, C.batches, C.moving, E.errors):
        run_all(tally, part())
    for side in (tally.ours, tally.theirs):
        side.drop_others(set(C.TABLES) - {C.SPARE})
    for change, after in ((C.add_index, C.use_index), (C.remove_index, C.without_index)):
        run_all(tally, change())
        tally.settle(C.WORDS)
        run_all(tally, after())
    run_all(tally, C.drop())
    tally.settle(*C.TABLES)
    run_all(tally, C.dropped())

    new = tally.unlisted(tally.found)
    stale = [row for row in tally.rows if not any(row.covers(d) for d in tally.found)]
    with capsys.disabled():
        print(f"\n{tally.compared} calls compared with moto's, {tally.equal} equal;", end=" ")
        print(
            f"of {len(tally.found)} differences {len(tally.found) - len(new)} are accepted, by {len(tally.rows)} rows"
        )
    assert not new and not stale, "docs/protocol.md does not list:\n{}\nand lists what nothing shows:\n{}".format(
        *("\n".join(f"| `{'` | `'.join(row)}` |" for row in rows) for rows in (new, stale))
    )


def run_all(tally: D.Tally, cases: Iterable[D.Case]) -> None:
    for case in cases:
        tally.run(case)


# ---------------------------------------------------------------- random sequences

SPACE = "space"  # the table of random sequences
SCALARS = st.one_of(
    st.builds(lambda text: {"S": text}, st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4)),
    st.builds(lambda number: {"N": str(number)}, st.integers(-(10**37), 10**37)),
    st.builds(lambda flag: {"BOOL": flag}, st.booleans()),
    st.just({"NULL": True}),
    st.builds(lambda data: {"B": data}, st.binary(max_size=3)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(lambda members: {"L": members}, st.lists(inner, max_size=3)),
        st.builds(lambda members: {"M": members}, st.dictionaries(st.sampled_from(["x", "y"]), inner)),
    ),
    max_leaves=4,
)
HASHES = st.sampled_from(["p", "q"])
SORTS = st.sampled_from([str(n) for n in (-20, -3, 0, 1, 2, 10)])
KEYS = st.builds(lambda h, s: {"pk": {"S": h}, "sk": {"N": s}}, HASHES, SORTS)
ITEMS = st.builds(
    lambda key, more, colors: key | more | colors,
    KEYS,
    st.dictionaries(st.sampled_from(["a", "b"]), VALUES),
    st.one_of(st.just({}), st.sampled_from([{"color": {"S": "red"}}, {"color": {"S": "blue"}}])),
)
CONDITIONS = st.one_of(
    st.just(("pk = :p", [])),
    st.builds(lambda op, s: (f"pk = :p AND sk {op} :s", [s]), st.sampled_from(["=", "<", "<=", ">", ">="]), SORTS),
    st.builds(
        lambda low, high: ("pk = :p AND sk BETWEEN :s AND :t", sorted((low, high), key=int)),
        SORTS,
        SORTS,
    ),
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("PutItem"), ITEMS),
        st.tuples(st.just("DeleteItem"), KEYS),
        st.tuples(st.just("GetItem"), KEYS),
        st.tuples(st.just("Query"), HASHES, CONDITIONS, st.booleans(), st.sampled_from([None, 1, 3])),
        st.tuples(st.just("by-color"), st.sampled_from(["red", "blue"]), st.booleans()),
        st.tuples(st.just("BatchWriteItem"), st.lists(ITEMS, min_size=1, max_size=4), st.lists(KEYS, max_size=2)),
        st.tuples(st.just("BatchGetItem"), st.lists(KEYS, min_size=1, max_size=4)),
    ),
    min_size=4,
    max_size=16,
)


class Sequence:
    """One example: its items are told from other examples' by a prefix of their hash keys."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def cases(self, operations: list[tuple[Any, ...]]) -> Iterator[Any]:
        for number, (op, *given_) in enumerate(operations):
            yield self._case(f"random/{number}-{op}", op, given_)

    def _mine(self, item: dict[str, Any]) -> dict[str, Any]:
        mine = item | {"pk": {"S": self._prefix + item["pk"]["S"]}}
        return mine | ({"color": {"S": self._prefix + item["color"]["S"]}} if "color" in item else {})

    def _case(self, name: str, op: str, given_: list[Any]) -> Any:
        at: dict[str, Any] = {"TableName": SPACE}
        if op == "PutItem":
            return D.Case(name, op, at | {"Item": self._mine(given_[0])})
        if op == "DeleteItem":
            return D.Case(name, op, at | {"Key": self._mine(given_[0])})
        if op == "GetItem":
            return D.Case(name, op, at | {"Key": self._mine(given_[0]), "ConsistentRead": True})
        if op == "Query":
            hash_key, (condition, bounds), forward, limit = given_
            values = {":p": {"S": self._prefix + hash_key}}
            values |= {mark: {"N": bound} for mark, bound in zip((":s", ":t"), bounds, strict=False)}
            return C.query(
                name, SPACE, condition, values, ScanIndexForward=forward, **({"Limit": limit} if limit else {})
            )
        if op == "by-color":  # equal sort keys of two items have no order
            color, forward = given_
            return C.query(
                name, SPACE, "color = :p", {":p": {"S": self._prefix + color}}, IndexName="by-color",
                ScanIndexForward=forward, unordered=True)  # fmt: skip
        if op == "BatchGetItem":
            unique = {(k["pk"]["S"], k["sk"]["N"]): self._mine(k) for k in given_[0]}
            return D.Case(name, op, {"RequestItems": {SPACE: {"Keys": list(unique.values())}}}, "call", True)
        items = {(i["pk"]["S"], i["sk"]["N"]): {"PutRequest": {"Item": self._mine(i)}} for i in given_[0]}
        gone = {(k["pk"]["S"], k["sk"]["N"]): {"DeleteRequest": {"Key": self._mine(k)}} for k in given_[1]}
        return D.Case(name, "BatchWriteItem", {"RequestItems": {SPACE: list((items | gone).values())}})


def test_random_sequences(tally: D.Tally, capsys: pytest.CaptureFixture[str]) -> None:
    defined = C.attributes(pk="S", sk="N", color="S")
    by_color = [C.index("by-color", C.keys("color", "sk"))]
    made = C.table(SPACE, C.keys("pk", "sk"), defined, GlobalSecondaryIndexes=by_color)
    tally.run(D.Case("create/space", "CreateTable", made))
    tally.settle(SPACE)
    before, examples = tally.compared, iter(range(1_000_000))

    # The same sequences in every run: beside an implementation that is not ours, new ones would find its faults.
    @hypothesis.settings(max_examples=60, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(OPERATIONS)
    def same(operations: list[tuple[Any, ...]]) -> None:
        for case in Sequence(f"{next(examples)}-").cases(operations):
            assert not (found := tally.run(case)), (found, case)

    same()
    with capsys.disabled():
        print(f"\n{tally.compared - before} random calls compared with moto's: no difference but those listed")


# ---------------------------------------------------------------- the comparison itself


def test_a_difference_is_found_wherever_it_is() -> None:
    one, two = {"a": {"N": "1"}, "s": {"SS": ["b", "a"]}}, {"a": {"N": "2"}, "s": {"SS": ["a", "b"]}}
    ours = D.Answer("done", D.normal({"Items": [one], "Count": 1, "TableId": "x"}))
    theirs = D.Answer("done", D.normal({"Items": [two], "TableId": "y"}))
    assert D.differences("c", ours, theirs) == [("c", "Count", "1", "absent"), ("c", "Items[].a.N", "1", "2")]
    assert D.differences("c", ours, ours) == []
    refused = D.Answer("ValidationException", None)
    assert D.differences("c", ours, refused) == [("c", "outcome", "done", "ValidationException")]
    more = D.Answer("done", {"Items": [{}, {}]})
    assert D.differences("c", D.Answer("done", {"Items": [{}]}), more) == [("c", "Items", "[{}]", "[{}, {}]")]


def test_a_row_covers_what_it_names_and_no_more() -> None:
    table = "| call | member | we | moto | why |\n|---|---|---|---|---|\n| `a/*` | `outcome` | `done` | `X 500` | y |\n"
    page = f"# x\n{D.HEADING}\n{table}"
    (row,) = D.accepted(page + "\n## Next\n| `b` | `outcome` | `done` | `X` | z |\n")
    assert row.covers(D.Difference("a/1", "outcome", "done", "X 500"))
    for change in ({"case": "b/1"}, {"member": "Count"}, {"ours": "X 500"}, {"theirs": "X"}):
        assert not row.covers(D.Difference("a/1", "outcome", "done", "X 500")._replace(**change))

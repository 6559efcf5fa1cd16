"""The history: every record survives the way to disk and back, and a damaged one is never taken for a record."""

import contextlib
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwall import history
from cellwall.errors import Refused

KINDS = get_args(history.Record)
numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)
anything = st.recursive(
    st.none() | st.booleans() | integers | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type: the types that records use, and an error for one that is new."""
    origin, arguments = get_origin(kind), get_args(kind)
    simple = {str: st.text(max_size=12), int: integers, float: numbers, bool: st.booleans(), Any: anything}
    if kind in simple:
        return simple[kind]
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if origin is UnionType:
        return st.one_of([st.none() if one is type(None) else values(one) for one in arguments])
    raise NotImplementedError(f"no strategy for {kind}")


def records_of(kind: type) -> st.SearchStrategy[Any]:
    fields = msgspec.structs.fields(kind)
    needed = {field.name: values(field.type) for field in fields if field.required}
    optional = {field.name: values(field.type) for field in fields if not field.required}
    return st.fixed_dictionaries(needed, optional=optional).map(lambda given_fields: kind(**given_fields))


records = st.one_of([records_of(kind) for kind in KINDS])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=40)  # of each of twelve kinds
@given(data=st.data())
def test_every_kind_of_record_comes_back_as_it_was(kind: type, data: st.DataObject) -> None:
    record = data.draw(records_of(kind))
    line = history.encode(record)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert list(history.decode([line])) == [record]


def test_every_kind_is_in_the_union_under_a_name_of_its_own() -> None:
    defined = {
        kind
        for kind in vars(history).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not kind.__name__.startswith("_")
    }
    assert defined == set(KINDS)
    tags = [kind.__struct_config__.tag for kind in KINDS]
    assert len(set(tags)) == len(tags)


@given(st.lists(records, max_size=5), st.booleans())
def test_order_is_kept_and_blank_lines_are_nothing(written: list[Any], blank: bool) -> None:
    lines = [line for record in written for line in ([b"\n"] * blank + [history.encode(record)])]
    assert list(history.decode(lines)) == written


@given(st.lists(records, max_size=3), records, st.data())
def test_a_last_line_cut_off_by_a_kill_is_dropped(whole: list[Any], last: Any, data: st.DataObject) -> None:
    line = history.encode(last)
    cut = data.draw(st.integers(0, len(line)))
    file = b"".join(history.encode(record) for record in whole) + line[:cut]
    complete = cut >= len(line) - 1  # without its newline it still says everything
    assert list(history.decode(file.splitlines(keepends=True))) == [*whole, *([last] if complete else [])]


@given(records, records, st.data())
def test_a_cut_line_anywhere_else_is_refused_with_its_number(first: Any, second: Any, data: st.DataObject) -> None:
    line = history.encode(first)
    cut = data.draw(st.integers(1, len(line) - 2))
    with pytest.raises(Refused, match="history line 2: "):
        list(history.decode([history.encode(first), line[:cut] + b"\n", history.encode(second)]))


BAD_LINES = [
    b"{}\n",
    b"null\n",
    b"[1]\n",
    b'{"kind":"phase","t":1}\n',  # a field is missing
    b'{"kind":"phase","t":"1","name":"cut"}\n',  # a wrong type
    b'{"kind":"rumour","t":1}\n',  # an unknown kind
    b'{"kind":"renewal","t":1,"server":"s","cell":"c","outcome":"failed","waited_s":1}\n',  # a fourth outcome
    b'{"kind":"phase","t":1,"name":"\xff"}\n',  # not UTF-8
    b"\x00\x01\n",
]


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("after", [[], [history.encode(history.Phase(t=1.0, name="cut"))]], ids=["last", "inside"])
def test_a_bad_line_is_refused_never_skipped(bad: bytes, after: list[bytes]) -> None:
    with pytest.raises(Refused, match="history line 1: not a record"):
        list(history.decode([bad, *after]))


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"") + b"\n"), max_size=4))
def test_noise_never_raises_anything_but_refused(lines: list[bytes]) -> None:
    with contextlib.suppress(Refused):
        assert list(history.decode(lines)) == []

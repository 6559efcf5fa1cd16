"""The parts of a table's definition: whether each is sound, alone and beside the attributes defined.

Decides from values only; a whole definition and its changes are `schema`. Every message names the member;
the wording is DynamoDB's where it is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .bodies import KeyElement, Projection, SecondaryIndex, Throughput
from .errors import ValidationError
from .members import INVALID, check_name

KEY_NAME_BYTES_MAX = 255  # Developer Guide, quotas: names of key attributes
NON_KEY_MAX = 20  # API reference, Projection: attributes of one index


def check_all_used(types: Collection[str], used: set[str]) -> None:
    if not used.issuperset(types):
        raise ValidationError(
            f"{INVALID}Some AttributeDefinitions are not used. AttributeDefinitions: {_listed(types)}, "
            f"keys used: {_listed(sorted(used))}"
        )


def check_index(place: str, index: SecondaryIndex, types: Mapping[str, str], billing: str) -> list[str]:
    check_name(f"{place}.IndexName", index.IndexName)
    names = check_keys(f"{place}.KeySchema", index.KeySchema, types)
    _check_projection(f"{place}.Projection", index.Projection)
    check_throughput(f"{place}.", billing, index.ProvisionedThroughput)
    return names


def check_keys(place: str, keys: list[KeyElement], types: Mapping[str, str]) -> list[str]:
    kinds = [k.KeyType for k in keys]
    if kinds not in (["HASH"], ["HASH", "RANGE"]):
        raise ValidationError(f"{INVALID}{place}: {_listed(kinds)}; it must be one HASH, then at most one RANGE")
    names = [k.AttributeName for k in keys]
    if len(set(names)) != len(names):
        raise ValidationError(
            f"{INVALID}Both the Hash Key and the Range Key element in the KeySchema have the same name: {place}"
        )
    if not set(names) <= types.keys():
        raise ValidationError(
            f"{INVALID}Some index key attributes are not defined in AttributeDefinitions. Keys: {_listed(names)}, "
            f"AttributeDefinitions: {_listed(types)}: {place}"
        )
    for name in names:
        if not 1 <= len(name.encode()) <= KEY_NAME_BYTES_MAX:
            raise ValidationError(f"{INVALID}{place}: {name[:50]!r} must have 1 to {KEY_NAME_BYTES_MAX} bytes")
    return names


def _check_projection(place: str, projection: Projection) -> None:
    given = projection.NonKeyAttributes
    if projection.ProjectionType is None:
        raise ValidationError(f"{INVALID}Unknown ProjectionType: null: {place}.ProjectionType")
    if projection.ProjectionType != "INCLUDE" and given is not None:
        raise ValidationError(
            f"{INVALID}ProjectionType is {projection.ProjectionType}, but NonKeyAttributes is specified: {place}"
        )
    if projection.ProjectionType == "INCLUDE" and not given:
        raise ValidationError(f"{INVALID}ProjectionType is INCLUDE, but NonKeyAttributes is not specified: {place}")
    if given is not None and (len(given) > NON_KEY_MAX or len(set(given)) < len(given) or "" in given):
        raise ValidationError(
            f"{INVALID}{place}.NonKeyAttributes: at most {NON_KEY_MAX} different names are allowed, none empty"
        )


def check_throughput(place: str, billing: str, throughput: Throughput | None) -> None:
    member = f"{place}ProvisionedThroughput"
    if billing == "PAY_PER_REQUEST":
        if throughput is not None:
            raise ValidationError(f"{member}: must not be given with BillingMode PAY_PER_REQUEST")
        return
    if throughput is None:
        raise ValidationError(f"{member}: is missing; it must be given with BillingMode PROVISIONED")
    for units in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if getattr(throughput, units) < 1:
            raise ValidationError(f"{member}.{units}: {getattr(throughput, units)} is not allowed; it must be >= 1")


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(names)}]"

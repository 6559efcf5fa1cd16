"""From a typed part of a resource to a structural OpenAPI v3 schema.

Decides how each type is said to the API server; which rules go beyond types is `rules`' word. Never reads an object.
Invariant: the result has no $ref and no anyOf, and every property has a type and a description. The default of an
object is whole, because the server tries the rules on it before it fills in what members have for defaults.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import inspect as types

from .rules import AT_FIELD, FIXED, OF_TYPE, Rule

Schema = dict[str, Any]


def struct_schema(cls: type[msgspec.Struct], *, defaults: bool) -> Schema:
    """The schema of ``cls``. ``defaults`` False for a status: what is not known is not filled in by the server."""
    found = types.type_info(cls)
    assert isinstance(found, types.StructType)
    return _struct(found, defaults)


def _struct(of: types.StructType, defaults: bool) -> Schema:
    schema: Schema = {"description": _docstring(of.cls), "type": "object"}
    required = [field.encode_name for field in of.fields if field.required]
    if required:
        schema["required"] = required
    schema["properties"] = {field.encode_name: _field(of.cls, field, defaults) for field in of.fields}
    return _with_rules(schema, list(OF_TYPE.get(of.cls, ())))


def _field(owner: type, field: types.Field, defaults: bool) -> Schema:
    schema = _schema(field.type, defaults)
    default = _default(field)
    if defaults and default is not None:
        schema["default"] = default
    rules = list(AT_FIELD.get(owner, {}).get(field.name, ()))
    why = FIXED.get(owner, {}).get(field.name)
    if why is not None:
        schema["description"] += ". Cannot be changed"
        rules.append(Rule(_unchanged(field.type), f"{field.encode_name} cannot be changed: {why}"))
    return _with_rules(schema, rules)


def _default(field: types.Field) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return _plain(field.default_factory())
    return None if field.default is msgspec.NODEFAULT else _plain(field.default)


def _schema(of: types.Type, defaults: bool) -> Schema:
    if isinstance(of, types.Metadata):
        schema = _schema(of.type, defaults)
        if (of.extra or {}).get("must"):
            # The server's own answer to a pattern is the pattern; this one can be followed.
            rule = Rule(f"self.matches(r'{schema['pattern']}')", f"it must be {(of.extra or {})['must']}")
            _with_rules(schema, [rule])
        return _described(schema, of.extra_json_schema or {})
    if isinstance(of, types.UnionType):
        others = [member for member in of.types if not isinstance(member, types.NoneType)]
        assert len(others) == 1, f"{of}: a union of types has no structural schema"
        return {**_schema(others[0], defaults), "nullable": True}
    if isinstance(of, types.StructType):
        return _struct(of, defaults)
    if isinstance(of, types.ListType | types.VarTupleType):
        return _list(of, defaults)
    if isinstance(of, types.LiteralType):
        return {"type": "string", "enum": list(of.values)}
    if isinstance(of, types.BoolType):
        return {"type": "boolean"}
    if isinstance(of, types.StrType):
        return {"type": "string"} | _given(minLength=of.min_length, maxLength=of.max_length, pattern=of.pattern)
    if isinstance(of, types.IntType):
        return {"type": "integer", "format": "int64"} | _bounds(of)
    if isinstance(of, types.FloatType):
        return {"type": "number"} | _bounds(of)
    raise TypeError(f"{of}: no structural schema is known for it")


def _list(of: types.ListType | types.VarTupleType, defaults: bool) -> Schema:
    items = _schema(of.item_type, defaults)
    schema: Schema = {"type": "array"} | _given(minItems=of.min_length or None, maxItems=of.max_length)
    if "type" in items.get("properties", {}):  # conditions: writers own them one by one
        return schema | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": items}
    return schema | {"x-kubernetes-list-type": "atomic", "items": items}


def _bounds(of: types.IntType | types.FloatType) -> Schema:
    low = of.ge if of.gt is None else of.gt
    high = of.le if of.lt is None else of.lt
    schema = _given(minimum=low, maximum=high)
    # OpenAPI 3.0 has these as flags of the bounds; JSON Schema has them as bounds of their own.
    if of.gt is not None:
        schema["exclusiveMinimum"] = True
    if of.lt is not None:
        schema["exclusiveMaximum"] = True
    return schema


def _unchanged(of: types.Type) -> str:
    """An expression for "as before". A member that is null and one that is absent are the same, yet not equal."""
    while isinstance(of, types.Metadata):
        of = of.type
    if not isinstance(of, types.StructType) or not any(_nullable(field.type) for field in of.fields):
        return "self == oldSelf"
    return " && ".join(
        f"(has(self.{name}) ? has(oldSelf.{name}) && self.{name} == oldSelf.{name} : !has(oldSelf.{name}))"
        if _nullable(field.type)
        else f"self.{name} == oldSelf.{name}"
        for field in of.fields
        for name in [field.encode_name]
    )


def _nullable(of: types.Type) -> bool:
    while isinstance(of, types.Metadata):
        of = of.type
    return isinstance(of, types.UnionType)


def _described(schema: Schema, extra: dict[str, Any]) -> Schema:
    schema.update({key: value for key, value in extra.items() if key != "description"})
    description = extra.get("description", schema.get("description"))
    return schema if description is None else {"description": description, **_without(schema, "description")}


def _with_rules(schema: Schema, rules: list[Rule]) -> Schema:
    if rules:
        schema.setdefault("x-kubernetes-validations", []).extend(rule.written() for rule in rules)
    return schema


def _docstring(cls: type) -> str:
    text = inspect.getdoc(cls) or ""
    return " ".join(text.split()).replace("``", "").replace("`", "").removesuffix(".")


def _plain(value: Any) -> Any:
    """As it stands in a manifest; whole floats as whole numbers, which is what the server keeps."""
    value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _given(**items: Any) -> Schema:
    return {key: value for key, value in items.items() if value is not None}


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}

"""The smallest piece of every plan: apply a manifest, unless the live object has it already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..actions import Apply, Ref
from ..manifests.drift import matches
from ..objects import Body, Resource, api_version


def apply(children: Mapping[tuple[str, str], Body], manifests: Iterable[Mapping[str, Any]]) -> list[Apply]:
    """Whoever deletes or edits one of ours by hand gets it back."""
    return [
        Apply(manifest)
        for manifest in manifests
        if not matches(children.get((manifest["kind"], manifest["metadata"]["name"])), manifest)
    ]


def ref(resource: Resource[Any]) -> Ref:
    return Ref(api_version(resource.kind), resource.kind, resource.name, resource.uid)

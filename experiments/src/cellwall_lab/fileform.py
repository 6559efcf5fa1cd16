"""The form of a Chaos Toolkit file as this project uses it: a strict part of what Chaos Toolkit takes.

Decides which keys and types there may be (no pauses, no background, no process or HTTP provider, fixed
runtime strategies); says nothing in words, that is `lint`. Our own extension's form is `experiment`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the file: an unknown key is an error."""


class Provider(Part, frozen=True, kw_only=True):
    type: Literal["python"]
    module: str
    func: str = ""
    arguments: dict[str, Any] = {}


class Activity(Part, frozen=True, kw_only=True):
    type: Literal["action", "probe"]
    name: str
    provider: Provider
    tolerance: Any = None


class Hypothesis(Part, frozen=True, kw_only=True):
    title: str
    probes: list[Activity]


class Control(Part, frozen=True, kw_only=True):
    name: str
    provider: Provider


class Rollbacks(Part, frozen=True, kw_only=True):
    strategy: Literal["always"]


class Strategy(Part, frozen=True, kw_only=True):
    strategy: Literal["before-method-only"]


class Runtime(Part, frozen=True, kw_only=True):
    hypothesis: Strategy
    rollbacks: Rollbacks


class File(Part, frozen=True, kw_only=True, rename={"hypothesis": "steady-state-hypothesis"}):
    title: str
    description: str
    tags: list[str] = []
    contributions: dict[str, str] = {}
    configuration: dict[str, Any]
    runtime: Runtime
    controls: list[Control]
    hypothesis: Hypothesis
    method: list[Activity]
    rollbacks: list[Activity]
    extensions: list[dict[str, Any]]

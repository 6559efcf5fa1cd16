"""What is wrong with an experiment file, in words: place, value, what would be right.

Decides whether a file keeps the shape of design §3; runs and imports nothing of it but our own activities.
Chaos Toolkit accepts a misspelt key in silence and lets a failed action pass (research 02 §1.3), so
everything that it would let through must stop here.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from cellwall.errors import Refused
from cellwall.judge import spec as claim_specs
from cellwall.spec import ZONES

from . import runbook, triggers, verbs
from .chaos import actions, probes
from .experiment import EXTENSION, Arm, Extension, extension_of
from .fileform import Activity, File, Provider
from .settings import build

CONTROL = "cellwall_lab.chaos.control"
PARAMETERS = ("arm", "backend", "seed", "settings", "out", "force", "context")
# What the control puts into `configuration` for the activities, beside the file's own.
GIVEN = {*runbook.Timeline.__struct_fields__, "targets", "trigger", "renew_every_s", "time_limit_s"}
DOMAINS = 4  # verbs.Targets: a network domain is a quarter of the servers
_NAME = re.compile(r"\$\{([^}]*)\}")
_AT = re.compile(r"(?P<text>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.S)
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`")
_ADVICE = {
    "pauses": "all waiting is the action `wait`",
    "background": "one thing happens after the other; the world server keeps time",
    "controls": "controls stand at the top of the file only",
    "ref": "write the activity out",
    "dry": "not allowed in a file",
}


def problems(document: Any, name: str | None = None) -> list[str]:
    """Everything wrong with a file, one line each. ``name`` is the file's, where it is known."""
    if not isinstance(document, dict):
        return ["it must be a mapping with title, description, method, …; see experiments/september-2015.yaml"]
    found = [*_keys(document), *_activity_keys(document)]
    if found:
        return found
    try:
        file = msgspec.convert(document, File)
    except msgspec.ValidationError as error:
        return [_in_words(error, document)]
    return [
        *_configuration(file),
        *(problem for place, activity in _activities(file) for problem in _activity(place, activity, file)),
        *_extension(document, name),
        *_struck(document, file),
    ]


def _keys(document: Mapping[str, Any]) -> Iterator[str]:
    known = [field.encode_name for field in msgspec.structs.fields(File)]
    for key in document:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            yield f"{key}: unknown key; did you mean {near[0]}?"


def _activity_keys(document: Mapping[str, Any]) -> Iterator[str]:
    """The keys that Chaos Toolkit knows and we refuse, each with the reason."""
    hypothesis = document.get("steady-state-hypothesis")
    lists = {
        "steady-state-hypothesis.probes": hypothesis.get("probes") if isinstance(hypothesis, dict) else None,
        "method": document.get("method"),
        "rollbacks": document.get("rollbacks"),
    }
    for place, entries in lists.items():
        for number, entry in enumerate(entries if isinstance(entries, list) else []):
            if not isinstance(entry, dict):
                continue
            for key in entry.keys() & _ADVICE.keys():
                yield f"{place}[{number}].{key}: {entry[key]!r} is not allowed; {_ADVICE[key]}"
            provider = entry.get("provider")
            kind = provider.get("type") if isinstance(provider, dict) else None
            if kind in ("process", "http"):
                yield f"{place}[{number}].provider.type: {kind!r} is not allowed; it must be python"


def _configuration(file: File) -> Iterator[str]:
    for name in PARAMETERS:
        if name not in file.configuration:
            yield f"configuration.{name}: missing; without it `chaos run --var {name}=…` has no effect"
    if not any(control.provider.module == CONTROL for control in file.controls):
        yield f"controls: {CONTROL} is missing; without it no world is started"


def _activities(file: File) -> Iterator[tuple[str, Activity]]:
    for place, entries in (
        ("steady-state-hypothesis.probes", file.hypothesis.probes),
        ("method", file.method),
        ("rollbacks", file.rollbacks),
    ):
        if not entries:
            yield place, Activity(type="action", name="", provider=Provider(type="python", module=""))
        for number, entry in enumerate(entries):
            yield f"{place}[{number}]", entry


def _activity(place: str, activity: Activity, file: File) -> Iterator[str]:
    if not activity.name:
        yield f"{place}: it is empty; it must have at least one activity with a name"
        return
    place = f"{place} ({activity.name})"
    if place.startswith("steady") and activity.tolerance is None:
        yield f"{place}.tolerance: missing; without one the probe proves nothing"
    for name in _NAME.findall(str(activity.provider.arguments)):
        if name not in GIVEN and name not in file.configuration:
            near = difflib.get_close_matches(name, sorted(GIVEN), n=1, cutoff=0.0)
            yield f"{place}: ${{{name}}} has no value; did you mean ${{{near[0]}}}?"
    modules: dict[str, Any] = {m.__name__: m for m in (actions, probes)}
    if activity.provider.module in modules:
        yield from _call(place, activity.provider, modules[activity.provider.module])


def _call(place: str, provider: Provider, module: Any) -> Iterator[str]:
    if provider.func not in module.__all__:
        near = difflib.get_close_matches(provider.func, module.__all__, n=1, cutoff=0.0)
        yield f"{place}.provider.func: {provider.func!r} is not in {module.__name__}; did you mean {near[0]}?"
        return
    func: Callable[..., Any] = getattr(module, provider.func)
    try:
        inspect.signature(func).bind(**provider.arguments, configuration=None)
    except TypeError as error:
        yield f"{place}.provider.arguments: {provider.func}: {error}"
        return
    if func is actions.wait:
        given = {key for key in ("for_s", "until") if provider.arguments.get(key) is not None}
        if len(given) != 1:
            yield f"{place}: wait takes for_s or until, one of them; it has {sorted(given) or 'neither'}"
        elif given == {"until"} and provider.arguments.get("deadline_s") is None:
            yield f"{place}.provider.arguments.deadline_s: missing; a wait for a condition must end somewhere"
        until = provider.arguments.get("until")
        if until is not None and until not in verbs.Until.__args__:  # type: ignore[attr-defined]
            yield f"{place}: until: {until!r} is not allowed; it must be clean, faults-off, recovered or stuck"


def _extension(document: Mapping[str, Any], name: str | None) -> Iterator[str]:
    raw = extension_of(document)
    if raw is None:
        yield f"extensions: none is named {EXTENSION}; arms and claims stand there"
        return
    try:
        extension = msgspec.convert(raw, Extension)
    except msgspec.ValidationError as error:
        yield f"extensions.{EXTENSION}: {_in_words(error, raw)}"
        return
    if name is not None and extension.experiment != name:
        yield f"extensions.{EXTENSION}.experiment: {extension.experiment!r} is not the file's name; it must be {name!r}"
    if not extension.arms:
        yield f"extensions.{EXTENSION}.arms: it is empty; it must name at least one"
    for arm_name, arm in extension.arms.items():
        yield from _arm(f"arms.{arm_name}", arm, extension)
    chosen = document["configuration"].get("arm")
    default = chosen.get("default") if isinstance(chosen, dict) else chosen
    if default not in extension.arms:
        yield f"configuration.arm: {default!r} is not an arm; it must be one of {', '.join(extension.arms)}"
    try:
        claim_specs.claims(extension.claims, list(extension.arms))
    except Refused as error:
        yield f"{error}"


def _struck(document: Mapping[str, Any], file: File) -> Iterator[str]:
    """An arm's trigger that no activity lets strike would be passed over in silence."""
    arms = (extension_of(document) or {}).get("arms")
    found = arms if isinstance(arms, dict) else {}
    having = [name for name, arm in found.items() if isinstance(arm, dict) and arm.get("trigger") is not None]
    if having and not any("trigger" in _NAME.findall(str(a.provider.arguments)) for a in file.method):
        yield f"arms.{having[0]}.trigger: no activity uses ${{trigger}}; it must be an argument of the action strike"


def _arm(place: str, arm: Arm, extension: Extension) -> Iterator[str]:
    try:
        # Cell size is a warning here: `cellwall run` refuses it, --force runs it.
        build(("base", extension.base), (f"{place}.set", arm.set)).check(force=True)
    except Refused as error:
        yield str(error) if str(error).startswith(("base", place)) else f"{place}: {error}"
    if arm.trigger is not None:
        try:
            triggers.decode(arm.trigger)
        except Refused as error:
            yield f"{place}.{error}"
    t = arm.targets
    given = {k: v for k, v in msgspec.structs.asdict(t).items() if v is not None}
    if len(given) != 1:
        yield f"{place}.targets: {given} is not allowed; it must be one of domain, spread, zone, servers"
    elif t.domain is not None and not 0 <= t.domain < DOMAINS:
        yield f"{place}.targets.domain: {t.domain} is not allowed; it must be 0 to {DOMAINS - 1}"
    elif t.spread is not None and not 0 < t.spread <= 1:
        yield f"{place}.targets.spread: {t.spread:g} is not allowed; it must be in (0, 1]"
    elif t.zone is not None and t.zone not in ZONES:
        yield f"{place}.targets.zone: {t.zone!r} is not allowed; it must be one of {', '.join(ZONES)}"
    elif t.servers is not None and not t.servers:
        yield f"{place}.targets.servers: [] is not allowed; it must name at least one server"


def _in_words(error: msgspec.ValidationError, document: Any) -> str:
    """msgspec's message with our words: place first, and the value."""
    match = _AT.fullmatch(str(error))
    assert match is not None
    text, path = match["text"], match["path"] or ""
    place = f"{path}: " if path else ""
    unknown = _UNKNOWN.fullmatch(text)
    if unknown:
        return f"{path + '.' if path else ''}{unknown[1]}: unknown key{_advice(unknown[1])}"
    if text.startswith("Object missing required field"):
        return f"{place}{text.rpartition(' ')[2].strip('`')} is missing"
    value = _value_at(document, path)
    allowed = _LITERALS.get(path.rpartition(".")[2] if "strategy" not in path else path)
    right = f"; it must be {allowed}" if allowed else f": {text[0].lower()}{text[1:]}".replace("`", "")
    return f"{place}{value!r} is not allowed{right}" if len(repr(value)) < 80 else f"{path}{right}"


_LITERALS = {
    "runbook": ", ".join(runbook.RUNBOOKS),
    "schema": "1",
    "runtime.rollbacks.strategy": "always, or a fault may be left in place",
    "runtime.hypothesis.strategy": "before-method-only: what comes out is the claims' business",
}


def _advice(key: str) -> str:
    return f"; {_ADVICE[key]}" if key in _ADVICE else ""


def _value_at(document: Any, path: str) -> Any:
    """The value at msgspec's path; "[...]" stands for some key or place that it does not tell."""
    node = document
    for word in re.findall(r"[^.\[\]]+|\.\.\.", path):
        if isinstance(node, list) and word.isdigit():
            node = node[int(word)]
        elif isinstance(node, dict) and word in node:
            node = node[word]
        else:
            return "the value"
    return node

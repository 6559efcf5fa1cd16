"""An experiment file, typed: what its arms are, and what one arm's run of it is.

Decides how a file, an arm's name and the command line become one `ArmRun`; never runs anything.
`lint` says in words what is wrong with a file; this page is the form of a right one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from cellwall.errors import Refused
from cellwall.judge import spec as claim_specs
from cellwall.judge.spec import ClaimSpec
from cellwall.spec import WorldSpec

from . import settings, triggers
from .runbook import RunbookName, Timeline, timeline
from .verbs import Targets

EXTENSION = "cellwall"
FOLDER = Path(__file__).resolve().parents[2]  # experiments/: the files that come with the project
DOMAIN_0 = Targets(domain=0)  # one fixed quarter of the servers, the same in every arm (research 07)


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the file: an unknown key is an error."""


class Arm(_Part, frozen=True, kw_only=True):
    """One variant of the world. ``set`` is laid over the base, by dotted paths. ``trigger``: what begins the outage, as
    `triggers` reads it; without one it is the cut of the ``targets``."""

    question: str = ""
    set: dict[str, Any] = {}
    runbook: RunbookName = "none"
    targets: Targets = DOMAIN_0
    trigger: dict[str, Any] | None = None


class Extension(_Part, frozen=True, kw_only=True):
    """Our part of a Chaos Toolkit file."""

    name: Literal["cellwall"]
    schema: Literal[1]
    experiment: str
    question: str = ""
    base: dict[str, Any] = {}
    arms: dict[str, Arm]
    claims: list[dict[str, Any]] = []  # checked by `cellwall.judge.spec`


class Experiment(msgspec.Struct, frozen=True):
    """A whole file. ``document`` is what Chaos Toolkit gets to see."""

    name: str
    title: str
    document: dict[str, Any]
    extension: Extension
    claims: list[ClaimSpec]

    def arms_named(self, names: Sequence[str] = ()) -> list[str]:
        """These arms, or all, in the file's order: the base arm comes first and calibrates for the others."""
        for name in names:
            self.arm(name)
        return [name for name in self.extension.arms if not names or name in names]

    def arm(self, name: str) -> Arm:
        try:
            return self.extension.arms[name]
        except KeyError:
            known = ", ".join(self.extension.arms)
            raise Refused(f"--arm: {name!r} is not allowed; {self.name} has the arms {known}") from None

    def claims_of(self, arm: str, backend: str) -> list[ClaimSpec]:
        """The claims about one arm that mean something on this backend."""
        return [c for c in self.claims if arm in c.arms and (not c.backends or backend in c.backends)]


class ArmRun(msgspec.Struct, frozen=True, kw_only=True):
    """One arm, ready to be run."""

    experiment: str
    arm: str
    seed: int
    spec: WorldSpec
    runbook: RunbookName
    targets: Targets
    trigger: dict[str, Any]
    line: Timeline
    pace: float | None
    warnings: list[str]


def resolve(
    experiment: Experiment,
    arm: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    force: bool = False,
) -> ArmRun:
    """base < the arm's set < --set; --seed wins over all. Refuses a world that cannot mean anything."""
    chosen = experiment.arm(arm)
    pace, world = settings.pace_of(overrides or {})
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("base", experiment.extension.base),
        (f"arm {arm}", chosen.set),
        ("--set", world),
    ]
    if seed is not None:
        layers.append(("--seed", {"seed": seed}))
    spec = settings.build(*layers)
    try:
        warnings = spec.check(force=force)
    except Refused as error:
        raise Refused(f"arm {arm}: {error}") from None
    line = timeline(spec.renewal, pace)
    return ArmRun(
        experiment=experiment.name,
        arm=arm,
        seed=spec.seed,
        spec=spec,
        runbook=chosen.runbook,
        targets=chosen.targets,
        trigger=triggers.of_arm(chosen.trigger, chosen.targets, line.cut_s),
        line=line,
        pace=pace,
        warnings=warnings,
    )


def find(name: str) -> Path:
    """A path, or the bare name of a file that comes with the project."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = FOLDER / f"{name}.yaml"
    if "/" not in name and shipped.is_file():
        return shipped
    raise Refused(f"experiment: {name!r} is not a file; `cellwall list` names the experiments that come with it")


def load(name: str | Path) -> Experiment:
    """Read, check and type a file; the first thing wrong with it is the refusal."""
    path = find(str(name))
    return from_document(read(path), path.stem)


def read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Refused(f"{path}: not text in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise Refused(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None


def from_document(document: Any, name: str | None = None) -> Experiment:
    """Type a file's content. Without ``name`` (Chaos Toolkit does not tell it) the extension's counts."""
    from .lint import problems  # lint checks with the types of this page

    found = problems(document, name)
    if found:
        more = f" (and {len(found) - 1} more; `cellwall lint` lists them)" if len(found) > 1 else ""
        raise Refused(f"{name or 'experiment'}: {found[0]}{more}")
    extension = msgspec.convert(extension_of(document), Extension)
    claims = claim_specs.claims(extension.claims, list(extension.arms))
    return Experiment(extension.experiment, document["title"], document, extension, claims)


def extension_of(document: Mapping[str, Any]) -> Any:
    extensions = document.get("extensions")
    parts = [e for e in extensions if isinstance(e, dict)] if isinstance(extensions, list) else []
    return next((e for e in parts if e.get("name") == EXTENSION), None)

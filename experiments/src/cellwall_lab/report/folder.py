"""What a run folder holds, read once.

Decides which files a report needs and what is said when one cannot be read: a folder that is not a run's,
a verdict or a history that is damaged is refused with one line; a missing history only leaves its
arm empty. Writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from cellwall import history, moments, verdict
from cellwall.errors import Refused
from cellwall.judge import ACROSS
from cellwall.verdict import Verdict

from . import measure
from .canvas import TimeAxis
from .view import ArmView, RunView

HISTORY, VERDICT, EXPERIMENT, RUN, VOID = "history.ndjson", "verdict.json", "experiment.yaml", "run.json", "void.txt"
PREDICTION = "prediction"


def read(run_dir: Path) -> RunView:
    """The whole run; all arms on the same axes."""
    if not run_dir.is_dir():
        raise Refused(f"{run_dir}: not a run folder")
    judged = _verdict(run_dir / VERDICT)
    document = _document(run_dir / EXPERIMENT)
    ours = _extension(document)
    described = ours["arms"] if isinstance(ours.get("arms"), dict) else {}
    # A claim over several arms stands under a name of its own, which is no arm.
    names = [arm.name for arm in judged.arms if arm.name != ACROSS]
    names += sorted(path.parent.name for path in run_dir.glob(f"*/{HISTORY}") if path.parent.name not in names)
    arms = [_arm(run_dir, name) for name in names]
    before = run_dir / PREDICTION
    foretold = {name: _arm(before, name) for name in names if (before / name / HISTORY).is_file()}
    shown = [view for view in arms if view.records] or list(foretold.values())
    if shown:
        lo_s, hi_s = min(v.axis.lo_s for v in shown), max(v.axis.hi_s for v in shown)
        largest = max(view.largest_records for view in shown)
        arms = [_common(view, lo_s, hi_s, largest) for view in arms]
        foretold = {name: _common(view, lo_s, hi_s, largest) for name, view in foretold.items()}
    return RunView(
        folder=run_dir.resolve().name,
        title=str(document.get("title") or judged.experiment),
        experiment=judged.experiment,
        backend=judged.backend,
        seed=judged.seed,
        outcome=judged.outcome,
        versions=judged.versions,
        calibration=judged.calibration,
        question=str(ours.get("question") or ""),
        questions={name: str(arm.get("question") or "") for name, arm in described.items() if isinstance(arm, dict)},
        voids={name: _text(run_dir / name / VOID) for name in names if (run_dir / name / VOID).is_file()},
        verdicts=judged.arms,
        arms=arms,
        predictions=foretold,
        command=_command(run_dir, judged),
    )


def _arm(folder: Path, name: str) -> ArmView:
    path = folder / name / HISTORY
    if not path.is_file():
        return ArmView(name=name)
    try:
        with path.open("rb") as lines:
            return measure.arm(name, moments.read(history.decode(lines)))
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    except Refused as error:
        raise Refused(f"{path}: {error}") from None


def _verdict(path: Path) -> Verdict:
    try:
        return verdict.decode(path.read_bytes())
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}); a run folder holds a {VERDICT}") from None
    except Refused as error:
        raise Refused(f"{path.parent}: {error}") from None


def _document(path: Path) -> dict[str, Any]:
    """The experiment's file, or nothing: a report can do without its title."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _extension(document: dict[str, Any]) -> dict[str, Any]:
    """Our part of the experiment's file."""
    found = document.get("extensions")
    parts = [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []
    return next((part for part in parts if part.get("name") == "cellwall"), {})


def _command(run_dir: Path, judged: Verdict) -> str:
    """The command that repeats the run: as it was asked for, if that was kept."""
    try:
        command = str(msgspec.json.decode((run_dir / RUN).read_bytes())["command"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        command = ""
    file = f"experiments/{judged.experiment}.yaml"
    return command or f"cellwall run {file} --backend {judged.backend} --seed {judged.seed}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: cannot be read ({error})") from None


def _common(view: ArmView, lo_s: float, hi_s: float, largest_records: int) -> ArmView:
    """The same axes for every arm."""
    axis: TimeAxis = (
        msgspec.structs.replace(view.axis, lo_s=lo_s, hi_s=hi_s) if view.records else TimeAxis(lo_s=lo_s, hi_s=hi_s)
    )
    return msgspec.structs.replace(view, axis=axis, largest_records=largest_records)

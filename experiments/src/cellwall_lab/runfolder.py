"""A run's folder: where it is, what is in it, and how verdict.json is replaced.

Decides names and writes only `experiment.yaml`, `run.json` and `verdict.json`. Invariant: from the first
moment there is a complete verdict.json, unknown until an arm is judged; it is replaced in one step, so
that neither a kill nor a full disk leaves half of one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cellwall import verdict as verdicts
from cellwall.errors import CellwallError, Refused, Unavailable
from cellwall.verdict import ArmVerdict, Verdict

from . import unjudged
from .experiment import Experiment, from_document, read

RUNS = Path("runs")
PREDICTION = "prediction"  # the demo's simulated run, a run folder of its own inside the other
EXPERIMENT, RUN, VERDICT, REPORT = "experiment.yaml", "run.json", "verdict.json", "report.html"
SOCKET, HISTORY, JOURNAL, CALIBRATION, LOGS, VOID, REFUSED = (
    "world.sock",
    "history.ndjson",
    "journal.json",
    "calibration.json",
    "logs",
    "void.txt",  # why an arm's run does not count
    "refused.txt",  # what its backend would not start, in its words
)
SOCKET_PATH_MAX_BYTES = 107  # unix(7)


class RunInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a run was asked for, so that `cellwall report` can judge it again and name the command that repeats it."""

    experiment: str
    backend: str
    seed: int
    arms: list[str]
    settings: list[str] = []
    force: bool = False
    context: str = ""  # the cluster, by its name in the kubeconfig
    command: str = ""


class RunFolder:
    """One run's folder. `create` makes a new one, `open` takes an existing one."""

    def __init__(self, path: Path, info: RunInfo, experiment: Experiment) -> None:
        self.path, self.info, self.experiment = path, info, experiment

    @classmethod
    def create(
        cls, experiment: Experiment, info: RunInfo, out: Path | None = None, source: Path | None = None
    ) -> RunFolder:
        """Make the folder, copy the experiment into it and write the verdict "unknown"."""
        path = (out or new_path(info)).absolute()
        check_path(path, info.arms)
        try:
            path.mkdir(parents=True, exist_ok=True)
            # A verdict without a run is a refusal's (`leave_refusal`): what was wrong then has been put right.
            if any((path / name).exists() for name in (RUN, *info.arms)):
                raise Refused(f"--out: {path} holds a run already; it must be a new or an empty folder")
            text = source.read_text(encoding="utf-8") if source else dump(experiment.document)
            write_whole(path / EXPERIMENT, text.encode())
            write_whole(path / RUN, msgspec.json.format(msgspec.json.encode(info)) + b"\n")
        except OSError as error:
            raise Refused(f"--out: {path}: {error.strerror}; it must be a folder that can be written") from None
        folder = cls(path, info, experiment)
        folder.write(unjudged.opening(experiment, info.backend, info.seed, info.arms))
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run; refused with what is missing."""
        if not path.is_dir():
            raise Refused(f"run folder: {str(path)!r} is not a folder; it must be one that `cellwall run` made")
        try:
            info = msgspec.json.decode((path / RUN).read_bytes(), type=RunInfo)
        except OSError as error:
            raise Refused(f"run folder: {path / RUN} cannot be read ({error.strerror})") from None
        except msgspec.DecodeError as error:
            raise Refused(f"run folder: {path / RUN} is not a run's description ({error})") from None
        return cls(path.absolute(), info, from_document(read(path / EXPERIMENT), info.experiment))

    def arm(self, name: str) -> Path:
        return self.path / name

    def socket(self, arm: str) -> Path:
        return self.path / arm / SOCKET

    def verdict(self) -> Verdict:
        try:
            return verdicts.decode((self.path / VERDICT).read_bytes())
        except OSError as error:
            raise Refused(f"run folder: {self.path / VERDICT} cannot be read ({error.strerror})") from None

    def write(self, verdict: Verdict) -> None:
        write_verdict(self.path, verdict)

    def put(
        self,
        arms: Sequence[ArmVerdict],
        versions: dict[str, str] | None = None,
        calibration: dict[str, float] | None = None,
    ) -> Verdict:
        """Replace these arms' verdicts; the run's outcome follows. Figures that are not given stay as they are.
        Arms that run side by side do so one after the other: each keeps what the others have written."""
        with _locked(self.path):
            old = self.verdict()
            known = {arm.name: arm for arm in old.arms} | {arm.name: arm for arm in arms}
            new = verdicts.conclude(old, list(known.values()), versions or old.versions, calibration or old.calibration)
            self.write(new)
        return new


def new_path(info: RunInfo) -> Path:
    """`runs/<utc>-<experiment>-<backend>-s<seed>`."""
    return RUNS / f"{stamp()}-{info.experiment}-{info.backend.rpartition('.')[2]}-s{info.seed}"


def stamp() -> str:
    """The time, as a run folder's name begins."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def check_path(path: Path, arms: Sequence[str]) -> None:
    """A unix socket's path is short; say so before anything starts."""
    longest = max((len(os.fsencode(short(path / arm / SOCKET))) for arm in arms), default=0)
    if longest > SOCKET_PATH_MAX_BYTES:
        over = longest - SOCKET_PATH_MAX_BYTES
        raise Refused(f"--out: {path} is {over} bytes too long for a unix socket; choose a shorter folder")


def short(path: Path) -> Path:
    """The shorter of a path's absolute form and the one from here: what a socket call can take."""
    absolute = path.absolute()
    return min(absolute, Path(os.path.relpath(absolute)), key=lambda p: len(os.fsencode(p)))


def dump(document: dict[str, Any]) -> str:
    """A file's content as Chaos Toolkit handed it on, without what it adds for itself."""
    plain = {key: value for key, value in document.items() if key != "dry"}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)


def write_verdict(path: Path, verdict: Verdict) -> None:
    """Replace a run folder's verdict.json in one step."""
    write_whole(path / VERDICT, verdicts.encode(verdict))


def leave_refusal(path: Path, verdict: Verdict) -> None:
    """Say in the folder that was to hold a run why there is none; nothing if it holds one, or cannot be written."""
    with contextlib.suppress(CellwallError, OSError):
        path.mkdir(parents=True, exist_ok=True)
        if not (path / RUN).exists():
            write_verdict(path, verdict)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else holds this lock of the folder meanwhile; it leaves no file, and ends with its process."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise Refused(f"run folder: {folder} cannot be read ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes) -> None:
    """All or nothing: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Unavailable(f"{path}: {error.strerror}") from None

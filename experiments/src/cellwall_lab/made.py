"""On which machine and by which version something was measured. Decides how the two are named, and nothing else."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import msgspec

import cellwall


class Made(msgspec.Struct, frozen=True):
    """What made a sweep's rows or a calibration. Empty: not told."""

    version: str
    machine: str

    @classmethod
    def here(cls) -> Made:
        return cls(cellwall.__version__, f"{platform.machine()} {_processor()}".strip())


def _processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or sys.platform
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")

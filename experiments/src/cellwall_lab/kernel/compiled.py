"""How the kernel's functions become machine code: one decorator for its parts, one for the whole.

Decides compilation only. No fast-math: sums and products are IEEE 754's, in the order written, as in Python. All parts
are put into one function, and nothing in it allocates; so references need not be counted (``_nrt``), which would
cost a hundred times the work itself.

numba keeps compiled code on disk and looks at the time stamp of the one file that holds the outermost function.
`whole` makes the contents of all the kernel's files part of the key, so that code compiled from an older copy of a
part is never used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., object])
_OPTIONS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}  # the latter: nothing checks for division by zero


def part(function: _F) -> _F:
    """A function that other compiled ones call."""
    return cast(_F, numba.njit(forceinline=True, **_OPTIONS)(function))


def whole(make: Callable[[str], _F]) -> _F:
    """The outermost function, made by ``make``; what it encloses is part of the key of its compiled code."""
    return cast(_F, numba.njit(cache=True, **_OPTIONS)(make(fingerprint())))


def fingerprint() -> str:
    """Of every file whose code or constants the kernel compiles."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), *(here.parent / "backends" / name for name in ("chance.py", "timeline.py"))]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()

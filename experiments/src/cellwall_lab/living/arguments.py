"""Numbers and lists as they are typed; what is wrong with one is told with its name, its value and what would be right.

Decides nothing about what they mean to a world.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cellwall.errors import Refused


def whole(name: str, least: int | None = None, most: int | None = None) -> Callable[[Any], int]:
    """Reads a whole number in these bounds."""
    bounds = "" if least is None else f" in {least}..{most}" if most is not None else f" >= {least}"

    def read(text: Any) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _wrong(name, text, f"a whole number{bounds}") from None
        if (least is not None and value < least) or (most is not None and value > most):
            raise _wrong(name, text, f"a whole number{bounds}")
        return value

    return read


def number(name: str, *, above: float | None = None, least: float | None = None) -> Callable[[Any], float]:
    """Reads a finite number in these bounds."""
    bounds = f" > {above:g}" if above is not None else f" >= {least:g}" if least is not None else ""

    def read(text: Any) -> float:
        try:
            value = float(text)
        except ValueError:
            raise _wrong(name, text, f"a number{bounds}") from None
        inside = (above is None or value > above) and (least is None or value >= least)
        if not (math.isfinite(value) and inside):
            raise _wrong(name, text, f"a number{bounds}")
        return value

    return read


def tables(text: str) -> int | list[str]:
    """A number of tables, or their names."""
    return int(text) if text.isdecimal() else [word.strip() for word in text.split(",") if word.strip()]


def _wrong(name: str, text: Any, right: str) -> Refused:
    return Refused(f"{name}: {str(text)!r} is not allowed; it must be {right}")

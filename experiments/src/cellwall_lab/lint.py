"""What is wrong with an experiment file, in words."""

from __future__ import annotations

from typing import Any


def problems(document: Any, name: str | None = None) -> list[str]:
    return []

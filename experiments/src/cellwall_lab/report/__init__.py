"""The report: one HTML file per run folder that needs nothing else, no script, no network, no font.

Decides the file's name and that it appears whole or not at all. Reads the run's verdict and histories;
judges nothing. Same folder, same bytes.
"""

from __future__ import annotations

from pathlib import Path

from cellwall.errors import Unavailable

from .folder import read
from .page import page

__all__ = ["render"]

NAME = "report.html"


def render(run_dir: Path) -> Path:
    """Write ``run_dir/report.html`` from what the run left behind. Refused if the folder cannot be read."""
    text = page(read(run_dir))
    path = run_dir / NAME
    draft = path.with_suffix(".html.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Unavailable(f"{path}: cannot be written ({error.strerror})") from None
    return path

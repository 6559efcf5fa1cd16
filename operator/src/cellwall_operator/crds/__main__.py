"""`python -m cellwall_operator.crds`: print the definitions, or write the templates of their chart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .chart import manifests, templates


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m cellwall_operator.crds", description=__doc__)
    parser.add_argument("--write", metavar="DIR", type=Path, help="write one template a definition into DIR")
    folder: Path | None = parser.parse_args(arguments).write
    if folder is None:
        sys.stdout.write(manifests())
        return 0
    for name, text in templates().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

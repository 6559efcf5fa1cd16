"""The helm command: installs and uninstalls one world's release.

Decides its arguments, always with an explicit context and namespace; what is installed is `values`. A helm that fails
is quoted, and whatever it left is `release`'s to remove.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from cellwall.errors import Refused, Unavailable, Unknown

from . import names

TESTBED = "cellwall-testbed"
INSTALL_S = 120.0  # guess: it only creates objects; waiting for them is not its work
SAID_CHARS = 1000


def program() -> str:
    found = shutil.which("helm")
    if found is None:
        raise Refused("helm: not on PATH; `make up` builds one, or install helm 3 or 4 from its own site")
    return found


def chart() -> Path:
    """charts/cellwall-testbed: beside the sources, or where CELLWALL_CHARTS says (an installed package)."""
    folder = Path(os.environ.get("CELLWALL_CHARTS", Path(__file__).parents[5] / "charts")) / TESTBED
    if not (folder / "Chart.yaml").is_file():
        raise Refused(f"CELLWALL_CHARTS: no chart in {folder}; it must be the repository's charts folder")
    return folder


async def version() -> str:
    return (await _helm("version", "--template", "{{.Version}}")).strip()


async def install(context: str, namespace: str, values: Path) -> None:
    at = ("--kube-context", context, "--namespace", namespace)
    await _helm("upgrade", "--install", names.WORLD, str(chart()), *at, "--values", str(values))


async def uninstall(context: str, namespace: str) -> None:
    await _helm("uninstall", names.WORLD, "--kube-context", context, "--namespace", namespace, "--ignore-not-found")


async def _helm(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program(),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), INSTALL_S)
    except TimeoutError:
        raise Unknown(f"helm {arguments[0]}: not done within {INSTALL_S:g} s") from None
    finally:
        if process.returncode is None:  # a time-out, or the world is ending: never a helm left behind
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = " ".join(err.decode(errors="replace").split())[-SAID_CHARS:]
        raise Unavailable(f"helm {arguments[0]} ended with exit status {process.returncode}: {said}")
    return out.decode(errors="replace")

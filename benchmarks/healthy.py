"""A world of an arm of the reference experiment, for a benchmark to use: started, healthy, ended."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cellwall_lab import experiment, session, settings, verbs

HEALTHY_S = 120.0


@contextlib.contextmanager
def world(arm: str, assignments: Sequence[str] = ()) -> Iterator[tuple[Path, verbs.WorldClient]]:
    """Its folder and its verbs, as `cellwall up --arm ARM --set …` would start it."""
    run = experiment.resolve(experiment.load("september-2015"), arm, overrides=settings.parse(assignments))
    with tempfile.TemporaryDirectory(prefix="cellwall-benchmark-") as folder:
        started = session.World(run, "local", Path(folder))
        try:
            started.start()
            client = verbs.WorldClient(started.socket)
            if not client.call(verbs.Wait(until="clean", deadline_s=HEALTHY_S), verbs.Waited).met:
                raise SystemExit("the world is not healthy: try again when the machine is quiet")
            yield Path(folder), client
        finally:
            started.abort()

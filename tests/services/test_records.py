"""Records go to a file or, in a pod, to the standard output, which is a pipe: nothing else may be on it."""

from __future__ import annotations

import subprocess
import sys

from cellwall.history import ProcessSample, decode

WRITER = """
import asyncio, sys
from pathlib import Path
from cellwall.history import ProcessSample
from cellwall_services.records import Recorder
async def main():
    recorder = Recorder(Path("/dev/stdout"))
    writing = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    print("a warning", file=sys.stderr)
    for number in range(5000):
        recorder.add(ProcessSample(t=float(number), name="x" * 40, cpu_s=0.0, rss_bytes=1, lag_s=0.0))
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
asyncio.run(main())
"""


def test_records_come_through_a_pipe_whole_and_alone() -> None:
    ran = subprocess.run([sys.executable, "-c", WRITER], capture_output=True, timeout=30, check=True)
    lines = ran.stdout.splitlines(keepends=True)
    assert len(ran.stdout) > 2**18, "more than a pipe holds"
    records = list(decode(lines))
    assert len(records) == len(lines)
    assert [r.t for r in records if isinstance(r, ProcessSample)] == [float(number) for number in range(5000)]
    assert ran.stderr == b"a warning\n"

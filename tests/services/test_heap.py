"""Seen from a process of its own: what is settled stays settled for its life."""

from __future__ import annotations

import subprocess
import sys

import pytest

READY = """
import gc, weakref
import cellwall_services.{service}.__main__
from cellwall_services.heap import settle
class Node: pass
def loop():
    node = Node()
    node.me = node
    return weakref.ref(node)
gc.disable()
before = loop()
made = len(gc.get_objects())
settle()
assert before() is None, "garbage must not be kept for ever"
left = len(gc.get_objects())
assert left < made / 100, (left, made)
after = loop()
gc.collect()
assert after() is None, "what comes later is still collected"
"""


@pytest.mark.parametrize("service", ["frontend", "storage"])
def test_a_full_round_of_a_ready_process_leaves_its_libraries_out(service: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", READY.format(service=service)], check=False, capture_output=True, timeout=60
    )
    assert not ran.returncode, ran.stderr.decode()

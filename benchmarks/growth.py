"""The cause growing: the same cut, again and again, in a world whose customers adopt more indexes each time.

`python benchmarks/growth.py [SEED]` starts 800 servers with half the membership, cuts a quarter of them off for three
seconds, gives an index to each of the 96 largest tables, cuts again, and so on until the world sticks. Each row says
how large the memberships were. Nothing is asserted.
"""

from __future__ import annotations

import sys

from healthy import world

from cellwall_lab import verbs

STEPS = (0, 96, 48, 48)  # tables that get one more index, before each cut
GROW_S, CLEAN_S = 500.0, 120.0
AFTER_S = 40.0  # two renewal periods
CUT = verbs.Cut(targets=verbs.Targets(domain=0), for_s=3.0)


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def main() -> None:
    seed = sys.argv[1] if len(sys.argv) > 1 else "1"
    print(
        "| indexes added | in, s | records, all | records, largest | retrieved in, of 2 s | servers out | failed | it |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|---|", flush=True)
    with world("half-membership", [f"seed={seed}"]) as (_, client):
        for tables in STEPS:
            took_s = 0.0
            if tables:
                took_s = client.call(verbs.GrowIndexes(tables=tables, deadline_s=GROW_S), verbs.StepResult).took_s
            clean = client.call(verbs.Wait(until="clean", deadline_s=CLEAN_S), verbs.Waited).met
            before = client.call(verbs.Fleet(), verbs.FleetState)
            retrieved_s = max((c.largest_retrieval_s or 0.0) for c in before.cells.values())
            client.call(CUT)
            client.call(verbs.Wait(for_s=CUT.for_s + AFTER_S))
            after = client.call(verbs.Window(last_s=10.0), verbs.WindowStats)
            out = percent(after.servers_out, after.servers)
            sticks = "sticks" if after.servers_out else "heals"
            figures = (
                tables,
                f"{took_s:.0f}",
                f"{sum(server.records for server in before.servers):,}",
                f"{max(server.records for server in before.servers):,}",
                f"{retrieved_s:.2f}",
                out,
                percent(after.requests_failed, after.requests),
                sticks if clean else f"{sticks}; it was not healthy before",
            )
            print("|", " | ".join(map(str, figures)), "|", flush=True)
            if after.servers_out or not clean:
                return


if __name__ == "__main__":
    main()

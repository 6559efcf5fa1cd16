"""Runs an experiment's arms over seeds, for real, and prints what came out: the table of DESIGN.md ("Evidence").

`python benchmarks/evidence.py --arm monolith --seeds 1-10 [--valid 10] [--out runs/evidence]` plays one arm after the
other, about 3.5 minutes each, and stops when ``--valid`` runs were valid or the seeds are used up. A void run is
listed with its reason and does not count. Another arm of the same seed gets the CPU limit that was calibrated for the
monolith, if that was played before into the same folder, as in one run of all arms. `--table DIR…` prints the table
of what is there and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CELLWALL = Path(sys.executable).with_name("cellwall")
BASE = "monolith"  # the arm whose limit all arms of a seed share
COLUMNS = ("servers-out", "requests-failed", "dragged-in", "relapsed", "capacity-locked-out", "cure-hurts", "recovered")
CONTROLS = ("healed", "contained", "spread-hits-all", "stuck", "no-write-lost")


def arm_of(folder: Path, arm: str) -> dict[str, Any]:
    verdict = json.loads((folder / "verdict.json").read_text())
    return next(a for a in verdict["arms"] if a["name"] == arm)


def limit_cores(folder: Path) -> float:
    return float(json.loads((folder / "verdict.json").read_text())["calibration"]["total_cores"])


def row(folder: Path, arm: str, seed: int) -> str:
    found = arm_of(folder, arm)
    claims = {claim["id"]: claim for claim in found["claims"]}
    if claims.get("clean", {}).get("outcome") != "held":
        why = claims["clean"]["evidence"] if "clean" in claims else "nothing was judged"
        return f"| {seed} | {arm} | - | **void** | {why[:160]} |"
    parts = []
    for name in (*COLUMNS, *CONTROLS):
        if name in claims:
            claim = claims[name]
            value = "-" if claim["value"] is None else f"{claim['value']:.3g}"
            parts.append(f"{name} {value}" + ("" if claim["outcome"] == "held" else f" **{claim['outcome']}**"))
    return f"| {seed} | {arm} | {limit_cores(folder):.3f} | {found['outcome']} | {', '.join(parts)} |"


def run(arm: str, seed: int, out: Path) -> Path:
    folder = out / f"{arm}-s{seed}"
    if not (folder / "report.html").exists():
        command = [CELLWALL, "run", "september-2015", "--arm", arm, "--seed", str(seed), "--out", folder]
        base = out / f"{BASE}-s{seed}"
        if arm != BASE and (base / "report.html").exists():
            command += ["--set", f"cpu.total_cores={limit_cores(base):.5f}"]
        out.mkdir(parents=True, exist_ok=True)
        with (out / f"{arm}-s{seed}.log").open("wb") as log:
            subprocess.run([str(word) for word in command], stdout=log, stderr=log, check=False)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", action="append", default=[])
    parser.add_argument("--seeds", default="1-10")
    parser.add_argument("--valid", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--table", type=Path, nargs="*")
    arguments = parser.parse_args()
    print("| seed | arm | q, cores | outcome | figures |\n|---|---|---|---|---|", flush=True)
    if arguments.table is not None:
        for folder in sorted(arguments.table):
            arm, _, seed = folder.name.rpartition("-s")
            print(row(folder, arm, int(seed)))
        return
    first, _, last = arguments.seeds.partition("-")
    for arm in arguments.arm or ["monolith"]:
        valid = 0
        for seed in range(int(first), int(last or first) + 1):
            folder = run(arm, seed, arguments.out)
            line = row(folder, arm, seed)
            print(line, flush=True)
            valid += "**void**" not in line
            if valid == arguments.valid:
                break


if __name__ == "__main__":
    main()

"""The report's page: complete, self-contained, small, the same every time; and what it says when data is missing.

The histories are made up here, in the shape of the story: a cut of 3 s, half the fleet out, three failed
attempts at capacity, a pause, paced re-entry. No world runs.
"""

from __future__ import annotations

import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwall import history as h
from cellwall import moments, series
from cellwall.errors import Refused
from cellwall_lab.report import distributions, figures, measure, render
from cellwall_lab.report.measure import size_cut
from cellwall_lab.report.view import percent, plain, seconds

T0_S = 1_790_000_000.0
CUT_S, CUT_END_S, PAUSE_S, RESUME_S, REENTRY_S, END_S = 30.0, 33.0, 103.0, 133.0, 163.0, 203.0
PHASES = {"start": 0, "clean": 5, "cut": 30, "settle": 33, "stuck": 73, "paused": 103, "capacity": 125}
PHASES |= {"re-entry": 133, "watch": 163, "end": 203}


def history(arm: str, cells: int, servers: int = 80, rps: float = 20.0, seed: int = 1) -> list[h.Record]:
    """Records of one arm; ``cells`` > 1 keeps the trouble in cell-0, which is what the cut strikes."""
    rng = random.Random(f"{seed}-{arm}")
    rows = []
    for i in range(servers):
        quarter = i * 4 // servers
        draw = rng.random()
        records = (
            rng.uniform(1190, 2210) if draw < 0.5 else rng.uniform(85, 680) if draw < 0.6 else rng.uniform(42, 127)
        )
        rows.append([f"s-{i:04d}", f"cell-{quarter * cells // 4}", i % 16, "abc"[i % 3], i // 10, int(records)])
    out: list[h.Record] = []
    spec = {"renewal": {"renew_every_s": 20.0, "time_limit_s": 2.0}, "cells": cells, "seed": seed}
    customers = {f"c-{i:03d}": [rows[i * servers // 40][1]] for i in range(40)}
    out.append(
        h.World(
            t=T0_S,
            backend="simulation",
            arm=arm,
            seed=seed,
            spec=spec,
            servers=rows,
            customers=customers,
            calibration={"c_record_s": 7e-6, "c_request_s": 4e-4, "total_cores": 0.44},
            versions={"cellwall": "0.1.0", "python": "3.11"},
        )
    )
    out += [h.Phase(t=T0_S + t, name=name) for name, t in PHASES.items()]
    struck = [row for row in rows if int(row[0][2:]) < servers // 4]
    names = [row[0] for row in struck]
    out.append(h.Fault(t=T0_S + CUT_S, id="f1", fault="cut", state="on", targets=names))
    out.append(h.Fault(t=T0_S + CUT_END_S, id="f1", fault="cut", state="off", targets=names, receipt={"refused": 41}))
    out += [h.Availability(t=T0_S, server=row[0], cell=row[1], available=True, reason="start") for row in rows]
    gone: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        spans: list[tuple[float, float]] = []
        back = RESUME_S + (REENTRY_S - RESUME_S) * row[2] / 16 + rng.random()
        sick = row[1] == "cell-0"
        if row in struck:
            spans.append((CUT_S + rng.uniform(0, 0.3), back if row[5] > 1000 else CUT_END_S + rng.uniform(0.2, 5)))
        elif sick and row[5] > 1000:
            spans.append((CUT_END_S + rng.uniform(2, 32), back))
        if sick and 300 < row[5] <= 1000:
            spans.append((45 + rng.random(), 50 + rng.random()))
        if sick and not (spans and spans[-1][1] == back):
            spans.append((PAUSE_S + rng.uniform(0, 20), back))
        gone[row[0]] = spans
        for start, end in spans:
            out.append(h.Availability(t=T0_S + start, server=row[0], cell=row[1], available=False, reason="time-out"))
            out.append(h.Availability(t=T0_S + end, server=row[0], cell=row[1], available=True, reason="renewed"))
        t = rng.uniform(0, 20)
        while t < END_S:
            away = any(a <= t < b for a, b in spans)
            paused = sick and PAUSE_S <= t < RESUME_S
            wait = 0.02 + row[5] * 4e-4 * rng.uniform(0.7, 1.2)
            if paused or (away and CUT_S <= t < CUT_END_S):
                out.append(
                    h.Renewal(
                        t=T0_S + t, server=row[0], cell=row[1], outcome="refused", waited_s=0.001, reason="unreachable"
                    )
                )
                t += rng.uniform(0.5, 1.0)
            elif away:
                out.append(
                    h.Renewal(
                        t=T0_S + t, server=row[0], cell=row[1], outcome="unknown", waited_s=2.0, reason="time-out"
                    )
                )
                t += 2.0 + rng.uniform(0.15, 0.45)
            else:
                slow = sick and CUT_S < t < PAUSE_S
                out.append(
                    h.Renewal(
                        t=T0_S + t,
                        server=row[0],
                        cell=row[1],
                        outcome="done",
                        records=row[5],
                        bytes=row[5] * 157,
                        waited_s=min(1.99, wait * (2.4 if slow else 1)),
                    )
                )
                t += 20 * rng.uniform(0.9, 1.1)
    for i in range(int(END_S * rps)):
        t = i / rps
        number = int(len(customers) * rng.random() ** 2)
        row = rows[(number * servers // 40 + rng.randrange(2)) % servers]
        failed = sum(any(a <= t < b for a, b in gone[rows[(int(row[0][2:]) + k) % servers][0]]) for k in range(3)) >= 2
        out.append(
            h.Request(
                t=T0_S + t,
                customer=f"c-{number:03d}",
                table=f"t-{number:05d}",
                partition=0,
                op="get",
                outcome="refused" if failed else "done",
                latency_s=0.004 + rng.random() * 0.01,
                late_s=rng.random() * 0.004,
            )
        )
    for second in range(int(END_S)):
        busy = sum(any(a <= second < b for a, b in spans) for spans in gone.values())
        for c in range(cells):
            sick = c == 0 and CUT_S < second < PAUSE_S
            closed = c == 0 and PAUSE_S <= second < RESUME_S
            queue = busy if sick else 0 if closed else 3
            out.append(
                h.NodeSample(
                    t=T0_S + second,
                    cell=f"cell-{c}",
                    node=f"cell-{c}-node-1",
                    cpu_s=second * 0.2 / cells,
                    in_service=queue,
                    waiting=queue // 3,
                    oldest_s=2.0 if sick else 0.6,
                )
            )
            spent = (
                0.26 * min(second, CUT_S)
                + 0.44 * max(0, min(second, PAUSE_S) - CUT_S)
                + 0.2 * max(0, second - RESUME_S)
            )
            out.append(
                h.CpuLimit(
                    t=T0_S + second,
                    node=f"cell-{c}-node-1",
                    limit_cores=0.44 / cells,
                    cpu_s=(spent if c == 0 else 0.26 * second) / cells,
                    stopped_ratio=0.9 if sick else 0.3,
                )
            )
        for name in ("storage", "frontend", "load"):
            out.append(
                h.ProcessSample(
                    t=T0_S + second, name=name, cpu_s=second * 0.1, rss_bytes=90_000_000, lag_s=rng.random() * 0.004
                )
            )
        out.append(h.HostSample(t=T0_S + second, steal_ratio=0.01 + 0.03 * rng.random(), busy_ratio=0.6))
    for t in (76.0, 86.0, 96.0):
        out.append(
            h.Step(t=T0_S + t, step="add-capacity", cell="cell-0", outcome="unknown", took_s=4.0, reason="time-out")
        )
    out += [
        h.Step(t=T0_S + 20, step="admin-probe", cell="cell-0", outcome="done", took_s=1.2),
        h.Step(t=T0_S + PAUSE_S, step="pause", cell="cell-0", outcome="done", took_s=0.1),
        h.Step(t=T0_S + 125, step="add-capacity", cell="cell-0", outcome="done", took_s=2.1),
        h.Step(t=T0_S + RESUME_S, step="resume", cell="cell-0", outcome="done", took_s=0.1),
        h.Audit(t=T0_S + END_S, customer="c-001", table="t-00001", key="k", acknowledged=3, found=3, outcome="done"),
    ]
    out.sort(key=lambda record: record.t)
    return out


def run_folder(
    root: Path, servers: int = 80, rps: float = 20.0, arms: dict[str, int] | None = None, *, predicted: bool = True
) -> Path:
    """A run of these arms (name to cells), predicted and measured, as the runner leaves it."""
    arms = {"monolith": 1, "cells-4": 4} if arms is None else arms
    run = root / "20270101T000000-september-2015-local-s1"
    for folder, seed in ((run, 1), (run / "prediction", 2))[: 1 + predicted]:
        for arm, cells in arms.items():
            (folder / arm).mkdir(parents=True)
            lines = b"".join(map(h.encode, history(arm, cells, servers, rps, seed)))
            (folder / arm / "history.ndjson").write_bytes(lines)
    (run / "experiment.yaml").write_text(
        "title: The September 2015 event\ndescription: Does a short cut become an outage that stays?\n"
    )
    claims = [
        {
            "id": "stuck",
            "text": "The outage stays",
            "outcome": "held",
            "value": 0.57,
            "unit": "share of servers",
            "bound": {"min": 0.45, "max": 0.65},
            "evidence": "480 samples over 30 s",
        },
        {
            "id": "contained",
            "text": "Only <one> cell suffers & no more",
            "outcome": "broken",
            "value": None,
            "unit": "",
            "bound": {},
            "evidence": "",
        },
    ]
    verdict = {
        "schema": 1,
        "experiment": "september-2015",
        "backend": "local",
        "seed": 1,
        "outcome": "broken",
        "versions": {"cellwall": "0.1.0"},
        "calibration": {"c_record_s": 7e-6, "total_cores": 0.44},
        "arms": [{"name": arm, "outcome": "held", "claims": claims} for arm in arms],
    }
    (run / "verdict.json").write_bytes(msgspec.json.encode(verdict))
    return run


SIX = {"monolith": 1, "cells-4": 4, "half-membership": 1, "double-cpu": 1, "cells-4-spread": 4, "zombies": 1}
VOID_TAGS = {"meta", "br", "hr", "img", "input", "link"}
DRAWN = (
    figures.outage,
    figures.cells,
    figures.renewals,
    figures.queue,
    figures.cpu,
    distributions.sizes,
    distributions.customers,
)


class Reader(HTMLParser):
    """Collects what the page refers to, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: dict[str, int] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "data", "action")]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = run_folder(tmp_path_factory.mktemp("runs"))
    render(run)
    return run


@pytest.fixture(scope="module")
def text(run_dir: Path) -> str:
    return (run_dir / "report.html").read_text(encoding="utf-8")


def test_six_arms_stay_below_one_megabyte(tmp_path: Path) -> None:
    path = render(run_folder(tmp_path, servers=40, rps=5.0, arms=SIX, predicted=False))  # only the demo predicts
    assert path.stat().st_size <= 1_000_000
    for arm in SIX:
        assert f"<b>{arm}</b>" in path.read_text(encoding="utf-8")


def test_refers_to_nothing_outside_itself(text: str) -> None:
    page = Reader(text)
    assert page.links and all(link.startswith("#") for link in page.links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text and "http://" not in text and "https://" not in text
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "embed"}


def test_is_well_formed_and_its_references_exist(text: str) -> None:
    page = Reader(text)
    assert not page.wrong and not page.open
    assert len(page.ids) == len(set(page.ids))
    targets = {link[1:] for link in page.links} | set(re.findall(r"url\(#([^)]*)\)", text))
    assert targets <= set(page.ids)
    assert 'name="viewport"' in text and "@media print" in text and "prefers-color-scheme:dark" in text


def test_every_figure_has_a_title_and_a_description(text: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(drawings) >= 17
    for drawing in drawings:
        assert re.search(r"<title id=\"\w+\">[^<]+</title><desc id=\"\w+\">[^<]+</desc>", drawing)
        assert 'role="img"' in drawing and "viewBox" in drawing and "width=" not in drawing.partition(">")[0]


def test_shows_every_arm_and_claim_escaped(text: str) -> None:
    assert "Only &lt;one&gt; cell suffers &amp; no more" in text and "<one>" not in text
    assert text.count("The outage stays") == 2
    assert percent(0.57) in text and f"{percent(0.45)} to {percent(0.65)}" in text
    for arm in ("monolith", "cells-4"):
        assert f'id="claims-{arm}"' in text and f'href="#claims-{arm}"' in text
    assert "cellwall run experiments/september-2015.yaml --backend local --seed 1" in text


def test_the_command_is_the_one_that_was_asked_for(run_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    (copy / "run.json").write_text('{"command": "cellwall run september-2015 --seed 1 --set pace=60"}')
    assert "--set pace=60" in render(copy).read_text(encoding="utf-8")


def test_same_folder_same_bytes(run_dir: Path) -> None:
    before = (run_dir / "report.html").read_bytes()
    assert render(run_dir).read_bytes() == before
    assert not list(run_dir.glob("*.tmp"))


def test_tells_the_numbers_of_the_history(run_dir: Path, text: str) -> None:
    with (run_dir / "monolith" / "history.ndjson").open("rb") as lines:
        run = moments.read(h.decode(lines))
    at = series.moments(run)
    assert at.cut_on_s and at.t0_s and at.stuck_end_s
    out = series.out_curve(run).mean_share(at.t0_s + 40, at.t0_s + 70)
    assert f"left {percent(out)} of the fleet out of service" in text
    assert f"{len(series.dragged_in(run, at.targets, at.cut_on_s, at.stuck_end_s))} servers that the cut" in text
    assert "3 of 3 attempts at adding capacity failed" in text
    assert "1 of 4 cells sick" in text


def test_every_time_axis_carries_the_faults(run_dir: Path) -> None:
    view = measure.arm("monolith", moments.read(history("monolith", 1)))
    for draw in (figures.outage, figures.cells, figures.renewals, figures.queue, figures.cpu):
        drawing = draw(view)
        assert "seconds since the trigger was gone" in drawing and ">trigger gone</text>" in drawing
        assert "fill: var(--cut)" in drawing and "fill: var(--paused)" in drawing
    lane = figures.outage(view)
    assert lane.count("✕") == 3 and lane.count("✓") == 1 and lane.count("‖") == 1 and lane.count("▸") == 1


@pytest.mark.parametrize("kind", ["fault", "phase", "renewal", "availability", "request", "node", "cpu-limit", "step"])
def test_what_is_missing_is_said_not_raised(kind: str) -> None:
    records = [r for r in history("monolith", 1, servers=40, rps=5.0) if r.__struct_config__.tag != kind]
    view = measure.arm("monolith", moments.read(records))
    drawn = "".join(draw(view) for draw in DRAWN)
    if kind not in ("fault", "phase", "step"):
        assert "not recorded" in drawn or "no requests" in drawn


def test_empty_arms_are_shown_as_empty(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    shutil.rmtree(run / "prediction")
    shutil.rmtree(run / "cells-4")
    (run / "monolith" / "history.ndjson").write_bytes(b"")
    text = render(run).read_text(encoding="utf-8")
    assert not Reader(text).wrong
    assert text.count("not recorded") > 10 and "No history was recorded" in text
    assert "The outage stays" in text


def test_a_void_run_says_so(tmp_path: Path) -> None:
    run = run_folder(tmp_path, arms={"monolith": 1})
    (run / "monolith" / "void.txt").write_text("the host stole <30 %>\n")
    text = render(run).read_text(encoding="utf-8")
    assert "This run does not count: the host stole &lt;30 %&gt;" in text


@pytest.mark.parametrize("damage", ["no folder", "no verdict", "bad verdict", "bad history"])
def test_an_unreadable_run_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    run = run_folder(tmp_path, servers=8, rps=1.0, arms={"monolith": 1})
    if damage == "no folder":
        run = tmp_path / "none"
    elif damage == "no verdict":
        (run / "verdict.json").unlink()
    elif damage == "bad verdict":
        (run / "verdict.json").write_text("{}")
    else:
        (run / "monolith" / "history.ndjson").write_bytes(b"{}\n{}\n")
    with pytest.raises(Refused) as refusal:
        render(run)
    assert "\n" not in str(refusal.value) and str(run) in str(refusal.value)
    assert not (run / "report.html").exists()


@given(st.lists(st.integers(1, 999), min_size=1), st.lists(st.integers(1000, 3000), min_size=1))
def test_the_cut_off_parts_what_can_be_parted(won: list[int], lost: list[int]) -> None:
    cut = size_cut(won, lost)
    assert cut is not None and max(won) < cut <= min(lost)


def test_numbers_in_words() -> None:
    plainly = [percent(x).replace("\u00a0", " ") for x in (None, 0.0, 0.0001, 0.004, 0.0999, 0.574, 1.0)]
    assert plainly == ["not recorded", "0 %", "< 0.1 %", "0.4 %", "10 %", "57 %", "100 %"]
    assert [seconds(x).replace("\u00a0", " ") for x in (None, 0.0, 0.0042, 0.04, 2.0, 132.4)] == [
        "not recorded",
        "0.0 s",
        "4.2 ms",
        "40 ms",
        "2.0 s",
        "132 s",
    ]
    assert [plain(None), plain(3.0, "servers"), plain(7e-6)] == ["—", "3", "7e-06"]

// The last minutes as curves, with faults, pauses and phases on the time axis.

import { $, percent, say, svg } from "./words.js";

export const PAST_S = 300; // what the time axis shows; as much as the server remembers
export const GAP_S = 5; // a line is not drawn over a longer gap
const LEFT = 46, RIGHT = 12, TOP = 20, BOTTOM = 22;

/** Spans of time in which points hold something; each point speaks until the next. */
function spans(points, holds) {
  const found = [];
  points.forEach((point, i) => {
    const end = Math.min(points[i + 1]?.t ?? point.t, point.t + GAP_S);
    if (!holds(point)) return;
    if (found.length && found.at(-1)[1] === point.t) found.at(-1)[1] = end;
    else found.push([point.t, end]);
  });
  return found;
}

/** Unbroken runs of points that have a value. */
function runs(points, value) {
  const found = [];
  let last = null;
  for (const point of points) {
    if (value(point) === null) last = null;
    else {
      if (last === null || point.t - last > GAP_S) found.push([]);
      found.at(-1).push(point);
      last = point.t;
    }
  }
  return found;
}

function plot(id, points, { top, ticks, label, text, content }) {
  const place = $(id);
  const { width, height } = place.getBoundingClientRect();
  if (width < 80) return;
  const now = points.at(-1)?.t ?? 0;
  const x = (t) => LEFT + ((t - now + PAST_S) / PAST_S) * (width - LEFT - RIGHT);
  const y = (v) => TOP + (1 - v / top) * (height - TOP - BOTTOM);
  const shown = points.filter((point) => point.t >= now - PAST_S);
  const parts = [];
  const shade = (name, holds) => {
    for (const [from, to] of spans(shown, holds)) {
      parts.push(svg("rect", { class: name, x: x(from), y: TOP, width: Math.max(1.5, x(to) - x(from)), height: height - TOP - BOTTOM }));
    }
  };
  shade("pausing", (point) => point.paused);
  shade("fault", (point) => point.faults.some((fault) => fault !== "cut" && fault !== "pause"));
  shade("cutting", (point) => point.faults.includes("cut"));
  for (const tick of ticks) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
    parts.push(svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, label(tick)));
  }
  const every = width < 330 ? 120 : 60;
  for (let ago = 0; ago <= PAST_S; ago += every) {
    const anchor = ago ? "middle" : "end";
    parts.push(svg("text", { x: x(now - ago), y: height - 5, "text-anchor": anchor }, ago ? `−${ago / 60} min` : "now"));
  }
  let free = LEFT;
  shown.forEach((point, i) => {
    if (i && point.phase === shown[i - 1].phase) return;
    if (i) parts.push(svg("line", { class: "phase", x1: x(point.t), x2: x(point.t), y1: TOP - 12, y2: height - BOTTOM }));
    const at = Math.max(free, x(point.t) + (i ? 4 : 0));
    const next = shown.slice(i).find((later) => later.phase !== point.phase);
    const wide = 6.6 * point.phase.length;
    if (at + wide > (next ? x(next.t) : width)) return;
    parts.push(svg("text", { x: at, y: TOP - 7 }, point.phase));
    free = at + wide + 8;
  });
  parts.push(...content(shown, x, y));
  place.replaceChildren(svg("svg", { role: "img", "aria-label": text, viewBox: `0 0 ${width} ${height}` }, ...parts));
}

const path = (run, x, y, value) => run.map((point, i) => `${i ? "L" : "M"}${x(point.t).toFixed(1)} ${y(value(point)).toFixed(1)}`).join("");

function between(run, x, y, value, floor) {
  const back = `L${x(run.at(-1).t).toFixed(1)} ${y(floor).toFixed(1)}L${x(run[0].t).toFixed(1)} ${y(floor).toFixed(1)}Z`;
  return path(run, x, y, value) + back;
}

export function drawCurves(points, fleet) {
  const last = points.at(-1);
  if (!last) return;
  plot("outage", points, {
    top: 1,
    ticks: [0, 0.25, 0.5, 0.75, 1],
    label: percent,
    text: `Last five minutes: servers out, now ${percent(last.out_ratio)}; customers' requests failed, now ${percent(last.failed_ratio)}`,
    content: (shown, x, y) => [
      ...runs(shown, (p) => p.out_ratio).flatMap((run) => [
        svg("path", { class: "area-out", d: between(run, x, y, (p) => p.out_ratio, 0) }),
        svg("path", { class: "line-out", d: path(run, x, y, (p) => p.out_ratio) }),
      ]),
      ...runs(shown, (p) => p.failed_ratio).map((run) => svg("path", { class: "line-errors", d: path(run, x, y, (p) => p.failed_ratio) })),
    ],
  });
  const limit = fleet.time_limit_s;
  const most = Math.max(limit, ...points.map((point) => point.retrieval_s ?? 0));
  say($("headroom-note"), last.retrieval_s === null ? "unknown" : percent(Math.max(0, 1 - last.retrieval_s / limit)));
  plot("headroom", points, {
    top: 1.15 * most,
    ticks: [0, limit / 2, limit],
    label: (s) => `${+s.toFixed(2)} s`,
    text: `Last five minutes: time to retrieve the largest membership, now ${last.retrieval_s === null ? "not told" : `${last.retrieval_s.toFixed(2)} s`}, against the limit of ${limit} s`,
    content: (shown, x, y) => [
      ...runs(shown, (p) => p.retrieval_s).flatMap((run) => [
        svg("path", { class: "area-ok", d: between(run, x, y, (p) => Math.min(p.retrieval_s, limit), limit) }),
        svg("path", { class: "line-ink", d: path(run, x, y, (p) => p.retrieval_s) }),
      ]),
      svg("line", { class: "limit", x1: x(last.t - PAST_S), x2: x(last.t), y1: y(limit), y2: y(limit) }),
      svg("text", { x: x(last.t), y: y(limit) - 5, "text-anchor": "end" }, "time limit"),
    ],
  });
}

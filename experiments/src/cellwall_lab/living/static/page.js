// The live page: hears what the world server tells and hands it to the parts that draw it.
//
// Knows no other address than the one it came from. Time is the world's own clock (now_s), but for the log.

import { offer } from "./act.js";
import { GAP_S, PAST_S, drawCurves } from "./curves.js";
import { drawFleet, onChoose } from "./fleet.js";
import { drawFigures, drawHead } from "./head.js";
import { choose, drawWhy } from "./why.js";
import { $, clock, el, lasted, say, table } from "./words.js";

const STALE_S = 5; // guess: no news for so long is worth saying

const seen = { points: [], fleet: null, condition: "", trouble: "", at: 0, link: "opening", fresh: true };

const source = new EventSource("events");
source.addEventListener("open", () => {
  seen.fresh = true;
});
source.addEventListener("now", (event) => {
  const news = JSON.parse(event.data);
  if (seen.fresh) seen.points = [];
  Object.assign(seen, { fleet: news.fleet, condition: news.condition, trouble: news.trouble, link: "live", fresh: false });
  if (!news.trouble) seen.at = performance.now();
  seen.points.push(...news.points);
  const from = (seen.points.at(-1)?.t ?? 0) - PAST_S - GAP_S;
  while (seen.points.length && seen.points[0].t < from) seen.points.shift();
  draw();
});
source.addEventListener("end", () => {
  source.close();
  seen.link = "ended";
  seen.endedAt = clock();
  draw();
});
source.addEventListener("error", () => {
  if (seen.link === "ended") return;
  seen.link = "lost";
  draw();
});
setInterval(() => drawLink(), 1000);
document.addEventListener("visibilitychange", () => draw());

function drawLink() {
  const silent_s = (performance.now() - seen.at) / 1000;
  let text = "";
  if (seen.link === "lost") text = "No connection to the world; trying again. It may have ended. What you see is its last state.";
  else if (seen.link === "live" && seen.trouble) text = `The world cannot tell how it is: ${seen.trouble}.`;
  else if (seen.link === "live" && seen.at && silent_s > STALE_S) text = `No news for ${lasted(silent_s)}.`;
  say($("link"), text);
  $("link").classList.toggle("bad", text !== "");
  document.body.classList.toggle("stale", seen.link === "lost" || seen.link === "ended");
  $("acts").disabled = seen.link !== "live" || !seen.fleet;
}

function draw() {
  drawLink();
  drawHead(seen); // the title also of a page that is not looked at
  if (document.hidden || !seen.fleet) return;
  drawFigures(seen.fleet);
  drawFleet(seen.fleet);
  drawCurves(seen.points, seen.fleet);
  drawTables(seen.fleet.tables_in_flight);
  if (seen.link === "live") drawWhy();
  offer(seen.fleet);
}
addEventListener("resize", () => draw());
onChoose(choose);

function drawTables(tables) {
  const columns = [...new Set(tables.flatMap(Object.keys))];
  const text = (value) => (typeof value === "object" ? JSON.stringify(value) : value);
  const key = JSON.stringify(tables);
  if ($("tables").dataset.key === key) return;
  $("tables").dataset.key = key;
  $("tables").tabIndex = tables.length ? 0 : -1; // it may scroll
  if (!tables.length) return $("tables").replaceChildren(el("p", { class: "none" }, "No table is being created, updated or deleted."));
  const titles = columns.map((name) => name.replace(/_s$/, ", s").replaceAll("_", " "));
  $("tables").replaceChildren(table(titles, tables.map((each) => columns.map((name) => (name in each ? text(each[name]) : "")))));
}

// The head of the page: what is the case, in a sentence, in the title, as an icon and in four figures.

import { $, byName, el, lasted, number, percent, plural, say } from "./words.js";

const TONES = { healthy: "ok", hurt: "out", stuck: "out", cut: "cut", paused: "paused" };
const SIGNS = { ok: "✓", out: "✕", cut: "⚡︎", paused: "‖", gone: "■" };

/** What is the case, in one sentence; never what it means. */
function sentence(fleet) {
  const all = fleet.servers.length;
  const away = fleet.servers.filter((server) => server.state !== "in").length;
  const cut = fleet.servers.filter((server) => server.state === "cut").length;
  const paused = Object.keys(fleet.cells).filter((cell) => fleet.cells[cell].paused).sort(byName);
  const where = paused.length === Object.keys(fleet.cells).length ? "" : ` in ${paused.join(", ")}`;
  if (!away) {
    if (paused.length) return `All ${number(all)} servers are in, and renewals are paused${where}`;
    return fleet.faults.length ? `All ${number(all)} servers are in, and a fault is on` : `All ${number(all)} servers are in service`;
  }
  const out = `${number(away)} of ${number(all)} servers ${away === 1 ? "is" : "are"} out`;
  if (cut) return `${out}, ${cut === away ? "all of them cut off" : `${number(cut)} of them cut off`}`;
  if (paused.length) return `${out}; renewals are paused${where}`;
  return fleet.faults.length ? `${out}, and a fault is on` : `${out}, and no fault is on`;
}

export function drawHead({ fleet, condition, link, endedAt }) {
  const ended = link === "ended";
  if (!fleet && !ended) return;
  const name = fleet?.name ?? "Cellwall";
  const tone = ended ? "gone" : TONES[condition] ?? "gone";
  const text = ended ? `This world has ended (${endedAt})` : sentence(fleet);
  if ($("headline").dataset.text !== tone + text) {
    $("headline").dataset.text = tone + text;
    $("headline").className = tone;
    $("headline").replaceChildren(el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[tone]), text);
  }
  const out = fleet ? fleet.servers.filter((server) => server.state !== "in").length / fleet.servers.length : 0;
  document.title = ended ? `ended · ${name}` : link === "lost" ? `no connection · ${name}` : `${condition} · ${percent(out)} out · ${name}`;
  const word = ended ? "This world has ended." : `The world is ${condition}.`;
  say($("said"), word); // heard when the condition changes, not every second
  drawIcon(tone);
  if (!fleet) return;
  say($("over"), `Cellwall · ${name}`);
  const { requests, requests_failed: failed } = fleet.window;
  if (ended) say($("failing"), "What you see is its last state.");
  else if (!requests) say($("failing"), "No customer is asking.");
  else if (!failed) say($("failing"), "No customer request fails.");
  else say($("failing"), `${percent(failed / requests)} of customers’ requests fail.`);
  const chips = [];
  if (!ended) {
    if (fleet.phase) chips.push(["", `phase: ${fleet.phase}`]);
    for (const fault of fleet.faults) {
      const left = fault.off_s === null ? "" : `, ${lasted(fault.off_s - fleet.now_s)} left`;
      chips.push([fault.fault === "pause" ? "paused" : "cut", `${fault.id}: ${fault.fault} of ${plural(fault.targets, "server")}${left}`]);
    }
    if (!fleet.faults.length) chips.push(["", "no fault on"]);
  }
  $("chips").replaceChildren(...chips.map(([tone, text]) => el("li", { class: `chip ${tone}` }, text)));
}

function drawIcon(tone) {
  if ($("icon").dataset.tone === tone) return;
  $("icon").dataset.tone = tone;
  const colour = getComputedStyle(document.documentElement).getPropertyValue(`--${{ gone: "muted" }[tone] ?? tone}`).trim();
  const squares = ["1,1", "9,1", "1,9", "9,9"].map((at) => `<rect x='${at.split(",")[0]}' y='${at.split(",")[1]}' width='6' height='6' rx='1'/>`);
  $("icon").href = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='${colour}'>${squares.join("")}</svg>`)}`;
}

export function drawFigures(fleet) {
  const cells = Object.values(fleet.cells);
  const away = fleet.servers.filter((server) => server.state !== "in").length;
  const { requests, requests_failed: failed } = fleet.window;
  const slowest = slowestOf(fleet);
  const silent = cells.filter((cell) => cell.largest_retrieval_s === null).length;
  const queue = cells.reduce((sum, cell) => sum + cell.queue, 0);
  const oldest_s = Math.max(0, ...cells.map((cell) => cell.oldest_s));
  const rows = [
    ["Servers out", percent(away / fleet.servers.length), `${number(away)} of ${number(fleet.servers.length)}`, away ? "out" : ""],
    ["Requests failed", requests ? percent(failed / requests) : "–", `${number(failed)} of ${number(requests)} just now`, failed ? "errors" : ""],
    ["Largest retrieval", slowest === null ? "–" : `${slowest.toFixed(2)} s`,
      slowest === null ? "nobody got it lately" : silent ? `limit ${fleet.time_limit_s} s; none in ${plural(silent, "cell")}` : `limit ${fleet.time_limit_s} s`, ""],
    ["Renewals queued", number(queue), queue ? `oldest ${lasted(oldest_s)}` : "nobody waits", ""],
  ];
  if (!$("figures").children.length) {
    $("figures").append(...rows.map(([title]) => el("div", {}, el("dt", {}, title), el("dd", {}, el("b"), el("span")))));
  }
  rows.forEach(([, value, note, tone], i) => {
    const place = $("figures").children[i];
    place.className = tone;
    say(place.querySelector("b"), value);
    say(place.querySelector("span"), note);
  });
}

function slowestOf(fleet) {
  const told = Object.values(fleet.cells).map((cell) => cell.largest_retrieval_s).filter((s) => s !== null);
  return told.length ? Math.max(...told) : null;
}

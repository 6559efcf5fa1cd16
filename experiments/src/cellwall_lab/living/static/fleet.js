// The fleet: a card per cell with its figures, and in it a square per server, which can be chosen.

import { $, STATES, byName, el, lasted, number, percent, plural, say } from "./words.js";

const LEAST_PX = 10, MOST_PX = 16; // a square's side

let drawn = null; // the fleet as last drawn
const squares = new Map(); // server -> its square
let built = ""; // which servers in which cells the squares stand for

export function drawFleet(fleet) {
  drawn = fleet;
  const key = fleet.servers.map((server) => `${server.id} ${server.cell}`).join();
  if (key !== built) build(fleet);
  built = key;
  for (const server of fleet.servers) {
    const square = squares.get(server.id);
    if (square.dataset.s === server.state && square.dataset.why === server.reason) continue;
    square.dataset.s = server.state;
    square.dataset.why = server.reason;
    square.setAttribute("aria-label", `${server.id}, ${STATES[server.state]}${server.state === "in" ? "" : `: ${server.reason}`}`);
  }
  for (const [name, cell] of Object.entries(fleet.cells)) drawCell(name, cell, fleet);
}

function build(fleet) {
  squares.clear();
  const cells = Object.keys(fleet.cells).sort(byName);
  const groups = new Set(fleet.servers.map((server) => server.group)).size / cells.length;
  $("cells").style.setProperty("--card", groups > 12 ? "100%" : groups > 3 ? "21rem" : "13rem");
  $("cells").replaceChildren(...cells.map((cell) => {
    const mine = fleet.servers.filter((server) => server.cell === cell);
    const ids = [...new Set(mine.map((server) => server.group))].sort((a, b) => a - b);
    const blocks = ids.map((group) => {
      const members = mine.filter((server) => server.group === group);
      const block = el("div", { class: "group", role: "group", "aria-label": `placement group ${group}` }, ...members.map((server) => {
        const square = el("div", { class: "s", role: "option", "aria-selected": "false", tabindex: "-1", "data-id": server.id });
        squares.set(server.id, square);
        return square;
      }));
      block.style.setProperty("--across", Math.ceil(Math.sqrt(members.length)));
      return block;
    });
    const list = el("div", { class: "squares", role: "listbox", "aria-label": `Servers of ${cell}` }, ...blocks);
    list.querySelector(".s")?.setAttribute("tabindex", "0");
    return el("section", { class: "cell", "data-cell": cell, "aria-label": cell },
      el("header", {}, el("h3", {}, cell), el("button", { class: "count", type: "button", title: "Why? Shows one of them after the other" }), el("span", { class: "state" })),
      el("dl", { class: "nums" }), list);
  }));
  fit();
}

/** Blocks in even rows, and squares as large as that leaves room for. */
function fit() {
  for (const list of document.querySelectorAll(".squares")) {
    const gap = parseFloat(getComputedStyle(list).columnGap);
    const [block] = list.children;
    const across = Number(block.style.getPropertyValue("--across"));
    const between = (across - 1) * parseFloat(getComputedStyle(block).columnGap);
    const room = Math.max(1, Math.floor((list.clientWidth + gap) / (across * LEAST_PX + between + gap)));
    const columns = Math.ceil(list.children.length / Math.ceil(list.children.length / room));
    const width = (list.clientWidth - (columns - 1) * gap) / columns;
    const side = Math.max(LEAST_PX, Math.min(MOST_PX, Math.floor((width - between) / across)));
    list.style.setProperty("--columns", columns);
    list.style.setProperty("--side", `${side}px`);
  }
}
new ResizeObserver(fit).observe($("cells"));

function drawCell(name, cell, fleet) {
  const card = document.querySelector(`.cell[data-cell="${CSS.escape(name)}"]`);
  card.classList.toggle("paused", cell.paused);
  const count = card.querySelector(".count");
  const away = fleet.servers.filter((server) => server.cell === name && server.state !== "in").length;
  say(count, away ? `${number(away)} of ${number(cell.servers)} out` : `all ${number(cell.servers)} in`);
  count.disabled = !away;
  count.classList.toggle("out", away > 0);
  const state = card.querySelector(".state");
  say(state, cell.paused ? "‖ renewals paused" : "");
  state.classList.toggle("paused", cell.paused);
  const took_s = cell.largest_retrieval_s;
  const weights = Object.entries(cell.weights).sort(([a], [b]) => byName(a, b));
  const rows = [
    ["queue", cell.queue ? `${number(cell.queue)}, oldest ${lasted(cell.oldest_s)}` : "0"],
    ["limit", `${cell.limit_cores.toFixed(2)} cores, ${plural(cell.nodes, "node")}`],
    ["largest", `${number(cell.largest_records)} records`],
    ["retrieval", took_s === null ? (cell.answered ? "none lately" : "no answer") : `${took_s.toFixed(2)} s`],
  ];
  if (weights.length) rows.push(["weight", weights.map(([partition, percent]) => `partition ${partition} at ${percent} %`).join(", ")]);
  const nums = card.querySelector(".nums");
  const key = JSON.stringify(rows);
  if (nums.dataset.key === key) return;
  nums.dataset.key = key;
  nums.replaceChildren(...rows.map(([title, value]) => {
    const dd = el("dd", {}, value);
    if (title === "retrieval" && took_s !== null) dd.append(bar(took_s / fleet.time_limit_s));
    return el("div", {}, el("dt", {}, title), dd);
  }));
}

function bar(ratio) {
  const inner = el("i");
  inner.style.width = `${Math.min(100, 100 * ratio)}%`;
  return el("span", { class: ratio > 0.7 ? "bar thin" : "bar", role: "img", "aria-label": `${percent(ratio)} of the time limit` }, inner);
}

let choose = () => {};
let chosen = null;

/** Who is told of a chosen square. */
export function onChoose(told) {
  choose = told;
}

/** Mark this server's square as the chosen one; null: none. */
export function mark(id) {
  squares.get(chosen)?.setAttribute("aria-selected", "false");
  squares.get(id)?.setAttribute("aria-selected", "true");
  squares.get(id)?.scrollIntoView({ block: "nearest" });
  chosen = id;
}

export function focus(id) {
  squares.get(id)?.focus({ preventScroll: true });
}

const serverOf = (target) => target.closest?.(".cells .s")?.dataset.id;

$("cells").addEventListener("click", (event) => {
  $("tip").hidden = true; // what it says, the explanation says better
  const id = serverOf(event.target);
  if (id) return choose(id);
  const count = event.target.closest(".count");
  if (!count) return;
  const cell = count.closest(".cell").dataset.cell;
  const away = drawn.servers.filter((server) => server.cell === cell && server.state !== "in");
  const next = away[(away.findIndex((server) => server.id === chosen) + 1) % away.length];
  if (next) choose(next.id);
});

// In a list of squares the arrow keys move, up and down to the nearest square in that direction.
$("cells").addEventListener("keydown", (event) => {
  const from = event.target.closest(".cells .s");
  if (!from) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return choose(from.dataset.id);
  }
  const all = [...from.closest(".squares").querySelectorAll(".s")];
  const at = all.indexOf(from);
  const to = { ArrowRight: () => all[at + 1], ArrowLeft: () => all[at - 1], Home: () => all[0], End: () => all.at(-1),
    ArrowDown: () => nearest(from, all, 1), ArrowUp: () => nearest(from, all, -1) }[event.key]?.();
  if (!to) return;
  event.preventDefault();
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
});

function nearest(from, all, down) {
  const here = from.getBoundingClientRect();
  let best = null, least = Infinity;
  for (const square of all) {
    const there = square.getBoundingClientRect();
    const dy = down * (there.top - here.top);
    const far = dy + 4 * Math.abs(there.left - here.left);
    if (dy > 1 && far < least) [best, least] = [square, far];
  }
  return best;
}

$("cells").addEventListener("pointermove", (event) => {
  const server = drawn?.servers.find(({ id }) => id === serverOf(event.target));
  $("tip").hidden = !server || event.pointerType === "touch";
  if ($("tip").hidden) return;
  const state = server.state === "in" ? STATES.in : `${STATES[server.state]} for ${lasted(drawn.now_s - server.since_s)}: ${server.reason}`;
  say($("tip"), `${server.id} · ${state} · zone ${server.zone}, group ${server.group}, ${number(server.records)} records`);
  const { width, height } = $("tip").getBoundingClientRect();
  $("tip").style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  $("tip").style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
});
$("cells").addEventListener("pointerleave", () => {
  $("tip").hidden = true;
});

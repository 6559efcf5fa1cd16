// What can be done from here: each button says what it will do, and the log what came of it.

import { $, byName, clock, el, lasted, percent, plural, say } from "./words.js";

const CAME = { done: ["ok", "✓"], refused: ["out", "✕"], unknown: ["cut", "?"] };

const forms = [...document.querySelectorAll("form[data-verb]")];
const cellsWords = (one) => ($("cell").value === "*" ? one : $("cell").value);

/** What a form asks for, and in which words: verb → its body and its button's text. */
const PLANS = {
  cut: (form) => {
    const [kind, value] = form.which.value.split(":");
    const targets = { [kind]: kind === "zone" ? value : Number(value) };
    return [{ targets, for_s: Number(form.for_s.value) }, `Cut off ${form.which.selectedOptions[0]?.text ?? ""} for ${form.for_s.value} s`];
  },
  pause: () => [{ cell: $("cell").value }, `Pause renewals in ${cellsWords("all cells")}`],
  resume: () => [{ cell: $("cell").value }, `Resume ${cellsWords("all cells")}, in waves`],
  "add-capacity": () => [{ cell: $("cell").value }, `Add a node to ${cellsWords("every sick cell")}`],
  "limit-cpu": (form) => [{ cell: $("cell").value, factor: Number(form.factor.value) }, `Multiply the CPU limit of ${cellsWords("all cells")} by ${form.factor.value}`],
  weight: (form) => [
    { cell: $("cell").value, partition: Number(form.partition.value), percent: Number(form.percent.value) },
    `Set partition ${form.partition.value} of ${cellsWords("all cells")} to ${form.percent.value} %`,
  ],
  "grow-indexes": (form) => [
    { tables: Number(form.tables.value) },
    `Add an index to the ${form.tables.value === "1" ? "largest table" : `${form.tables.value} largest tables`}`,
  ],
};

/** Fill the choices once the fleet is known, and again when its cells change. */
export function offer(fleet) {
  const cells = Object.keys(fleet.cells).sort(byName);
  if ($("cell").dataset.key !== cells.join()) {
    const kept = $("cell").value;
    $("cell").dataset.key = cells.join();
    $("cell").replaceChildren(new Option("all cells", "*"), ...cells.map((cell) => new Option(cell, cell)));
    if (cells.includes(kept)) $("cell").value = kept;
    const zones = [...new Set(fleet.servers.map((server) => server.zone))].sort(byName);
    const group = (label, options) => el("optgroup", { label }, ...options);
    document.querySelector("form[data-verb=cut]").which.replaceChildren(
      group("network domain, a quarter of the servers", [0, 1, 2, 3].map((domain) => new Option(`domain ${domain}`, `domain:${domain}`))),
      group("spread over all placement groups", [0.1, 0.25, 0.5].map((share) => new Option(`${percent(share)} of every group`, `spread:${share}`))),
      group("zone", zones.map((zone) => new Option(`zone ${zone}`, `zone:${zone}`))),
    );
    word();
  }
}

function word() {
  for (const form of forms) say(form.querySelector("button"), PLANS[form.dataset.verb](form)[1]);
  const [kind] = document.querySelector("form[data-verb=cut]").which.value.split(":");
  const struck = { domain: "The same servers in every world of this seed", spread: "Some servers in every cell", zone: "All servers of one datacenter" }[kind];
  say($("d-cut"), `${struck ?? "Servers"} become unreachable at once. The cut ends by itself.`);
}
$("acts").addEventListener("input", word);

for (const form of forms) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.getAttribute("aria-busy") === "true") return;
    const [body, text] = PLANS[form.dataset.verb](form);
    act(form.dataset.verb, body, text, button);
  });
}

async function act(verb, body, text, button) {
  const waiting = el("span", { class: "came", "aria-hidden": "true" }, "under way …"); // counts seconds; not to be heard
  const entry = el("li", {}, el("time", {}, clock()), text, waiting);
  $("log").querySelector(".empty")?.remove();
  $("log").prepend(entry);
  $("log").scrollTop = 0;
  button.setAttribute("aria-busy", "true");
  const started = performance.now();
  const ticking = setInterval(() => say(waiting, `under way for ${lasted((performance.now() - started) / 1000)} …`), 1000);
  const { outcome, note } = await ask(verb, body);
  clearInterval(ticking);
  button.removeAttribute("aria-busy");
  const [tone, sign] = CAME[outcome];
  waiting.remove();
  entry.append(el("span", { class: `came ${tone}` }, el("b", {}, `${sign} ${outcome}`), note ? ` · ${note}` : ""));
}

/** Done, refused or unknown: a verb whose answer got lost may or may not have happened. */
async function ask(verb, body) {
  let response, told;
  try {
    response = await fetch(`verb/${verb}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const text = await response.text();
    told = response.headers.get("Content-Type")?.startsWith("application/json") ? JSON.parse(text) : { error: text };
  } catch {
    return { outcome: "unknown", note: "no answer: it may or may not have happened" };
  }
  if (response.status >= 500) return { outcome: "unknown", note: told.error };
  if (!response.ok) return { outcome: "refused", note: told.error };
  const took = told?.took_s === undefined ? "" : lasted(told.took_s);
  if (told?.outcome) return { outcome: told.outcome, note: [told.reason, took].filter(Boolean).join(" · ") };
  return { outcome: "done", note: told?.servers === undefined ? took : `${plural(told.servers, "server")} cut off` };
}

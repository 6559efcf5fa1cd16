// Why a chosen server is in or out: its own story, asked for again while it is open.

import { focus, mark } from "./fleet.js";
import { $, el, say, table } from "./words.js";

const AGAIN_MS = 3000;

const why = { id: null, asked: -Infinity };

export function choose(id) {
  Object.assign(why, { id, asked: -Infinity });
  mark(id);
  say($("why-title"), id);
  $("why-story").replaceChildren(el("p", { class: "note" }, "Asking the server …"));
  $("why-trace").replaceChildren();
  $("why").hidden = false;
  drawWhy();
}

function unchoose() {
  mark(null);
  focus(why.id);
  why.id = null;
  $("why").hidden = true;
}
$("why-close").addEventListener("click", unchoose);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && why.id) unchoose();
});

/** Ask again, if one is open and the answer is old. */
export async function drawWhy() {
  if (!why.id || performance.now() - why.asked < AGAIN_MS) return;
  const id = why.id;
  why.asked = performance.now();
  let told;
  try {
    const response = await fetch(`explain/${encodeURIComponent(id)}`);
    told = await response.json();
    if (!response.ok) throw new Error(told.error);
  } catch (error) {
    told = { story: [`Not known: ${error.message}.`], columns: [], rows: [] };
  }
  if (why.id !== id) return;
  $("why-story").replaceChildren(...told.story.map((line) => el("p", {}, line)));
  $("why-trace").replaceChildren(...(told.rows.length ? [table(told.columns, told.rows.toReversed())] : []));
}

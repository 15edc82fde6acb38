// @ts-check
/** What the doctor finds: what is wrong with the mesh, and what to do. */

import { path } from "../api.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { setQuery } from "../router.js";
import { Choice, Empty, Failed, Head, Loading, State, Table, Text, Time } from "../ui/parts.js";
import { useAnswer } from "../use.js";

const LEVELS = /** @type {const} */ ({ problem: "problem", note: "warning", ok: "ok" });
const ORDER = Object.keys(LEVELS);
/** Seconds that an examination may take: of a large mesh each queue is looked at. */
const LONGEST = 120;

/** @param {{ route: import("../router.js").Route }} props */
export function Doctor({ route }) {
  const { data, error, again } = useAnswer(path(["findings"]), 0, LONGEST);
  const level = route.query.get("level") ?? "";
  /** @type {any[]} */
  const all = data?.findings ?? [];
  const passed = all.filter((it) => it.level === "ok").length;
  const rows = all.filter((it) => (level ? level === "all" || it.level === level : it.level !== "ok"));
  return html`
    <${Head} title="Doctor" about="What is wrong with the broker, its queues and what was left behind. To look changes nothing.">
      <button onClick=${again}>Examine again</button><//>
    ${error && html`<${Failed} error=${error} again=${again} />`}
    ${data && data.examined === null ? html`<${Empty} title="There is nothing to examine"><p>The embedded broker lives in this process alone.</p><//>`
      : !data ? !error && html`<${Loading} />` : html`
    <div class="filters"><${Choice} label="Level" value=${level} options=${[["", "Problems and notes"], ["problem", "Problems"], ["note", "Notes"], ["all", "All checks"]]}
      onChoose=${(/** @type {string} */ chosen) => setQuery({ level: chosen })} /></div>
    <p class="muted">${count(passed)} ${passed === 1 ? "check" : "checks"} passed. Examined <${Time} at=${data.examined} />.</p>
    ${rows.length ? html`<div class="card"><${Table} label="Findings" rows=${rows} id=${(/** @type {any} */ it) => `${it.level} ${it.subject} ${it.what}`} columns=${COLUMNS} sort="Level" /></div>`
      : html`<${Empty} title="Nothing is wrong"><p>All checks passed.</p><//>`}`}`;
}

const COLUMNS = [
  { name: "Level", by: (/** @type {any} */ it) => ORDER.indexOf(it.level), cell: (/** @type {any} */ it) =>
    html`<${State} of=${Object.hasOwn(LEVELS, it.level) ? LEVELS[/** @type {keyof typeof LEVELS} */ (it.level)] : it.level} />` },
  { name: "Subject", by: (/** @type {any} */ it) => it.subject, cell: (/** @type {any} */ it) => html`<${Text} text=${it.subject} />` },
  { name: "What", cell: (/** @type {any} */ it) => html`<${Text} text=${it.what} />` },
  { name: "What to do", cell: (/** @type {any} */ it) => html`<${Text} text=${it.advice} />` },
];

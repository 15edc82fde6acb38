// @ts-check
/** All functions, and what they do now. */

import { count, duration, rate, visible } from "../format.js";
import { html } from "../html.js";
import { mesh } from "../live.js";
import { href, setQuery } from "../router.js";
import { Choice, Empty, Filter, Head, Table, Text } from "../ui/parts.js";
import { FunctionScreen } from "./function.js";

/** @param {{ route: import("../router.js").Route }} props */
export function Functions({ route }) {
  if (route.path[1] !== undefined) return html`<${FunctionScreen} key=${route.path[1]} name=${route.path[1]} />`;
  const all = [...mesh.functions.value.values()];
  const text = route.query.get("q") ?? "";
  const asked = text.toLowerCase();
  const service = route.query.get("service") ?? "";
  const services = [...new Set(all.map((it) => it.service))].sort();
  const rows = all.filter((it) => (!service || it.service === service) && describe(it).includes(asked));
  return html`
    <${Head} title="Functions" about="Rates are those of the last ten seconds, durations those of the last minute." />
    <div class="filters">
      <${Filter} label="Name or trigger" value=${text} onText=${(/** @type {string} */ q) => setQuery({ q })} />
      <${Choice} label="Service" value=${service} options=${[["", "All services"], ...services.map((it) => [it, it])]}
        onChoose=${(/** @type {string} */ chosen) => setQuery({ service: chosen })} />
    </div>
    ${rows.length ? html`<div class="card"><${Table} label="Functions" rows=${rows} id=${(/** @type {any} */ it) => it.name} sort="Function" columns=${COLUMNS} /></div>`
      : all.length ? html`<${Empty} title="No function matches"><p>Take words away from the filter.</p><//>`
      : html`<${Empty} title="No process announces functions yet"><p>Start a service with <code>eventmesh run app.py</code>. It appears here within a few seconds.</p><//>`}`;
}

/** @param {any} it */
function describe(it) {
  return `${it.name} ${(it.triggers ?? []).map((/** @type {any} */ trigger) => trigger.description).join(" ")}`.toLowerCase();
}

const COLUMNS = [
  { name: "Function", by: (/** @type {any} */ it) => it.name,
    cell: (/** @type {any} */ it) => html`<a href=${href(["functions", it.name])}><${Text} text=${it.name} /></a>` },
  { name: "Fired by", optional: true, cell: (/** @type {any} */ it) => html`<${Triggers} of=${it} />` },
  { name: "Rate", num: true, by: (/** @type {any} */ it) => it.rate, cell: (/** @type {any} */ it) => rate(it.rate) },
  { name: "p95", num: true, by: (/** @type {any} */ it) => it.p95, cell: (/** @type {any} */ it) => duration(it.p95) },
  { name: "Running", num: true, by: (/** @type {any} */ it) => it.running, cell: (/** @type {any} */ it) => count(it.running) },
  { name: "Waiting", num: true, optional: true, by: (/** @type {any} */ it) => it.waiting, cell: (/** @type {any} */ it) => count(it.waiting) },
  { name: "Runs", num: true, optional: true, by: (/** @type {any} */ it) => it.total, cell: (/** @type {any} */ it) => count(it.total) },
  { name: "Failed", num: true, by: (/** @type {any} */ it) => it.failed,
    cell: (/** @type {any} */ it) => html`<span class=${it.failed ? "bad-text" : ""}>${count(it.failed)}</span>` },
  { name: "Processes", num: true, optional: true, by: (/** @type {any} */ it) => it.instances?.length,
    cell: (/** @type {any} */ it) => count(it.instances?.length ?? 0) },
];

/** @param {{ of: any }} props */
export function Triggers({ of }) {
  if (!of.triggers?.length) return html`<span class="muted">by name only</span>`;
  return html`<span class="tags">${of.triggers.map((/** @type {any} */ it) =>
    html`<span key=${it.description} class="tag data" title=${visible(it.kind)}>${visible(it.description)}</span>`)}</span>`;
}

// @ts-check
/** The queues of functions: what waits in them, and who takes it. */

import { ask, may, path } from "../api.js";
import { count, visible } from "../format.js";
import { html } from "../html.js";
import { mesh } from "../live.js";
import { href, setQuery } from "../router.js";
import { confirm, tell } from "../ui/dialogs.js";
import { Choice, Empty, Filter, Head, Table, Text, Time } from "../ui/parts.js";

const KINDS = { inbox: "Inbox", dead: "Dead letters" };

/** @param {{ route: import("../router.js").Route }} props */
export function Queues({ route }) {
  const all = [...mesh.queues.value.values()];
  const text = route.query.get("q") ?? "";
  const asked = text.toLowerCase();
  const kind = route.query.get("kind") ?? "";
  const rows = all.filter((it) => it.name.toLowerCase().includes(asked) && (!kind || it.kind === kind));
  return html`
    <${Head} title="Queues" about="An inbox holds asynchronous work of one function until a process takes it." />
    <div class="filters">
      <${Filter} label="Name" value=${text} onText=${(/** @type {string} */ q) => setQuery({ q })} />
      <${Choice} label="Kind" value=${kind} options=${[["", "All kinds"], ...Object.entries(KINDS)]} onChoose=${(/** @type {string} */ chosen) => setQuery({ kind: chosen })} />
    </div>
    ${rows.length ? html`<div class="card"><${Table} label="Queues" rows=${rows} id=${(/** @type {any} */ it) => it.name} columns=${COLUMNS} sort="Messages" descending /></div>`
      : html`<${Empty} title=${all.length ? "No queue matches" : "No queues are known yet"}><p>${all.length ? "Take words away from the filter." : "They appear with the first process that serves a function."}</p><//>`}`;
}

/** @param {any} it */
async function purge(it) {
  const about = html`<p>${count(it.messages)} messages of <b>${visible(it.function)}</b> are dropped. They cannot be had back.</p>`;
  if (!(await confirm({ title: `Purge ${it.name}?`, about, action: "Purge", typed: it.name, danger: true }))) return;
  try {
    const { purged } = await ask(path(["queues", it.name, "purge"]), { confirm: it.name });
    tell(`${count(purged)} messages were dropped from ${it.name}.`);
  } catch (error) {
    tell(/** @type {Error} */ (error).message, { bad: true });
  }
}

const COLUMNS = [
  { name: "Queue", by: (/** @type {any} */ it) => it.name, cell: (/** @type {any} */ it) => html`<${Text} text=${it.name} code />
    ${it.away && html`<div class="small warn-text"><${Text} text=${it.away} /></div>`}` },
  { name: "Kind", optional: true, by: (/** @type {any} */ it) => it.kind, cell: (/** @type {any} */ it) =>
    visible(Object.hasOwn(KINDS, it.kind) ? KINDS[/** @type {keyof typeof KINDS} */ (it.kind)] : it.kind) },
  { name: "Messages", num: true, by: (/** @type {any} */ it) => it.messages, cell: (/** @type {any} */ it) => it.kind === "dead" && it.messages
    ? html`<a href=${href(["failures", it.function])}>${count(it.messages)}</a>` : count(it.messages) },
  { name: "Oldest", num: true, optional: true, by: (/** @type {any} */ it) => it.oldest, cell: (/** @type {any} */ it) => html`<${Time} at=${it.oldest} />` },
  { name: "Consumers", num: true, by: (/** @type {any} */ it) => it.consumers, cell: (/** @type {any} */ it) =>
    html`<span class=${it.kind === "inbox" && it.consumers === 0 ? "warn-text" : ""}>${count(it.consumers)}</span>` },
  { name: "", num: true, cell: (/** @type {any} */ it) => may("manage") && it.messages > 0
    && html`<button class="danger" aria-label=${`Purge ${visible(it.name)}`} onClick=${() => purge(it)}>Purge…</button>` },
];

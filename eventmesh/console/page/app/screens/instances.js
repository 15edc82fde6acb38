// @ts-check
/** The processes of the mesh. */

import { ask, me, may, path } from "../api.js";
import { bytes, count, visible } from "../format.js";
import { html } from "../html.js";
import { mesh } from "../live.js";
import { href, setQuery } from "../router.js";
import { confirm, tell } from "../ui/dialogs.js";
import { Empty, Filter, Head, Table, Text, Time } from "../ui/parts.js";

/** @param {{ route: import("../router.js").Route }} props */
export function Instances({ route }) {
  const all = [...mesh.instances.value.values()];
  const text = route.query.get("q") ?? "";
  const asked = text.toLowerCase();
  const rows = all.filter((it) => `${it.id} ${it.host} ${it.pid} ${Object.keys(it.services ?? {}).join(" ")}`.toLowerCase().includes(asked));
  const versions = mixed(all);
  return html`
    <${Head} title="Instances" about="Each is one process that announces itself over the broker." />
    ${versions.length > 0 && html`<p class="note">Several versions run at once: <${Text} text=${versions.join(", ")} />.</p>`}
    <div class="filters"><${Filter} label="Host, id or service" value=${text} onText=${(/** @type {string} */ q) => setQuery({ q })} /></div>
    ${rows.length ? html`<div class="card"><${Table} label="Instances" rows=${rows} id=${(/** @type {any} */ it) => it.id} columns=${COLUMNS} sort="Started" descending /></div>`
      : html`<${Empty} title=${all.length ? "No process matches" : "No process is known yet"}><p>${all.length ? "Take words away from the filter."
        : html`Start one with <code>eventmesh run app.py</code>.`}</p><//>`}`;
}

/** The services of which several versions run. @param {any[]} instances */
function mixed(instances) {
  /** @type {Map<string, Set<string>>} */
  const found = new Map();
  for (const it of instances) {
    for (const [service, version] of Object.entries(it.services ?? {})) {
      found.set(service, (found.get(service) ?? new Set()).add(String(version)));
    }
  }
  return [...found].filter(([, versions]) => versions.size > 1).map(([service, versions]) => `${service} (${[...versions].join(", ")})`);
}

/** @param {any} it */
async function drain(it) {
  const about = html`<p>It takes no more work, finishes what runs (${count(it.running)} now) within its grace time, and ends.
    The supervisor of its worker starts another in its place.</p>`;
  if (!(await confirm({ title: `Drain ${it.host} · ${it.pid}?`, about, action: "Drain" }))) return;
  try {
    // Where each service has a user of the broker, the key begins with that user.
    const { running } = await ask(path(["instances", it.id.split("/").pop(), "drain"]), {});
    tell(`${it.host} · ${it.pid} takes no more work, and ends when what runs (${count(running)}) has ended.`);
  } catch (error) {
    tell(/** @type {Error} */ (error).message, { bad: true });
  }
}

const COLUMNS = [
  { name: "Process", by: (/** @type {any} */ it) => `${it.host} ${it.pid}`, cell: (/** @type {any} */ it) => html`<${Text} text=${`${it.host} · ${it.pid}`} />
    <div class="small muted"><${Text} text=${it.id} code /></div>` },
  { name: "Services", cell: (/** @type {any} */ it) => html`<span class="tags">${Object.entries(it.services ?? {}).map(([service, version]) =>
    html`<a key=${service} class="tag data" href=${href(["functions"], { service })}>${visible(service)} ${visible(version ?? "")}</a>`)}</span>` },
  { name: "Running", num: true, by: (/** @type {any} */ it) => it.running, cell: (/** @type {any} */ it) => count(it.running) },
  { name: "Waiting", num: true, optional: true, by: (/** @type {any} */ it) => it.waiting, cell: (/** @type {any} */ it) => count(it.waiting) },
  { name: "Restarts", num: true, optional: true, by: (/** @type {any} */ it) => it.restarts, cell: (/** @type {any} */ it) =>
    html`<span class=${it.restarts ? "warn-text" : ""}>${count(it.restarts)}</span>` },
  { name: "Memory", num: true, optional: true, by: (/** @type {any} */ it) => it.memory, cell: (/** @type {any} */ it) => bytes(it.memory) },
  { name: "Started", num: true, by: (/** @type {any} */ it) => it.started, cell: (/** @type {any} */ it) => html`<${Time} at=${it.started} />` },
  { name: "", num: true, cell: (/** @type {any} */ it) => me.value?.mode === "console" && may("manage")
    && html`<button aria-label=${`Drain ${visible(`${it.host} ${it.pid}`)}`} onClick=${() => drain(it)}>Drain…</button>` },
];

// @ts-check
/** The executions of durable functions. */

import { path } from "../api.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { mesh } from "../live.js";
import { href, setQuery } from "../router.js";
import { Choice, Empty, Failed, Head, Loading, State, Table, Text, Time } from "../ui/parts.js";
import { useAnswer } from "../use.js";
import { ExecutionScreen } from "./execution.js";

const STATUSES = ["running", "pausing", "paused", "succeeded", "failed", "timed_out", "stopped"];

/** @param {{ route: import("../router.js").Route }} props */
export function Executions({ route }) {
  const id = route.path[1];
  if (id !== undefined) return html`<${ExecutionScreen} key=${id} id=${id} name=${route.query.get("function") ?? ""} />`;
  return html`<${List} query=${route.query} />`;
}

/** @param {{ query: URLSearchParams }} props */
function List({ query }) {
  const name = query.get("function") ?? "";
  const status = query.get("status") ?? "";
  const after = query.get("after") ?? "";
  const { data, error, again } = useAnswer(path(["executions"], { function: name, status, after }), after ? 0 : 3);
  const durable = [...mesh.functions.value.values()].filter((it) => it.durable).map((it) => it.name).sort();
  const names = [...new Set(name ? [...durable, name] : durable)];
  const asked = name || status;
  return html`
    <${Head} title="Executions" about="Runs of durable functions, which outlive processes. The newest are first." />
    ${error && html`<${Failed} error=${error} again=${again} />`}
    <div class="filters">
      <${Choice} label="Function" value=${name} options=${[["", "All durable functions"], ...names.map((it) => [it, it])]}
        onChoose=${(/** @type {string} */ chosen) => setQuery({ function: chosen, after: "" })} />
      <${Choice} label="Status" value=${status} options=${[["", "All"], ...STATUSES.map((it) => [it, it.replaceAll("_", " ")])]}
        onChoose=${(/** @type {string} */ chosen) => setQuery({ status: chosen, after: "" })} />
    </div>
    ${!data ? !error && html`<${Loading} />` : data.executions.length
      ? html`<div class="card"><${Table} label="Executions" rows=${data.executions} id=${(/** @type {any} */ it) => it.id} columns=${COLUMNS} sort="Started" descending /></div>`
      : html`<${Empty} title=${asked ? "No execution matches" : "There are no executions"}><p>${asked ? "Choose another function or status."
        : "They appear when a durable function is invoked, and are kept in the store of its service."}</p><//>`}
    ${(data?.after || after) && html`<p class="row">
      ${after && html`<a class="button" href=${href(["executions"], { function: name, status })}>Newest</a>`}
      ${data?.after && html`<a class="button" href=${href(["executions"], { function: name, status, after: data.after })}>Older</a>`}</p>`}`;
}

const COLUMNS = [
  { name: "Execution", cell: (/** @type {any} */ it) => html`<a href=${href(["executions", it.id], { function: it.function })}><${Text} text=${it.name || it.id} code /></a>` },
  { name: "Function", by: (/** @type {any} */ it) => it.function, cell: (/** @type {any} */ it) => html`<${Text} text=${it.function} />` },
  { name: "Status", by: (/** @type {any} */ it) => it.status, cell: (/** @type {any} */ it) => html`<${State} of=${String(it.status).toLowerCase()} />` },
  { name: "Turns", num: true, optional: true, by: (/** @type {any} */ it) => it.turns, cell: (/** @type {any} */ it) => count(it.turns) },
  { name: "Goes on", num: true, optional: true, by: (/** @type {any} */ it) => it.due, cell: (/** @type {any} */ it) => html`<${Time} at=${it.due} />` },
  { name: "Started", num: true, by: (/** @type {any} */ it) => it.started, cell: (/** @type {any} */ it) => html`<${Time} at=${it.started} />` },
];

// @ts-check
/** Runs that go on and that have ended, and all about one of them. */

import { path } from "../api.js";
import { clock, duration, visible } from "../format.js";
import { html } from "../html.js";
import { mesh } from "../live.js";
import { href, setQuery } from "../router.js";
import { Choice, Empty, Failed, Filter, Head, Loading, State, Table, Text, Time } from "../ui/parts.js";
import { useAnswer } from "../use.js";
import { InvocationScreen } from "./invocation.js";

const SPANS = [["", "As long as it is kept"], ["60", "The last minute"], ["600", "The last 10 minutes"], ["3600", "The last hour"]];
const FILTERS = ["function", "outcome", "trigger", "correlation_id", "since"];

/** @param {{ route: import("../router.js").Route }} props */
export function Invocations({ route }) {
  if (route.path[1] !== undefined) return html`<${InvocationScreen} key=${route.path[1]} id=${route.path[1]} />`;
  const asked = Object.fromEntries(FILTERS.map((name) => [name, route.query.get(name) ?? ""]));
  const since = Number(asked.since) > 0 ? String(Math.floor(Date.now() / 10_000) * 10 - Number(asked.since)) : "";
  const { data, error, again } = useAnswer(path(["invocations"], { ...asked, since, limit: "200" }), 2);
  const functions = [...mesh.functions.value.keys()].sort();
  const set = (/** @type {string} */ name) => (/** @type {string} */ value) => setQuery({ [name]: value });
  const filtered = Object.values(asked).some(Boolean);
  return html`
    <${Head} title="Invocations" about="Failures are always kept, successes are samples. An id in the search finds the rest." />
    <div class="filters">
      <${Choice} label="Function" value=${asked.function} options=${[["", "All functions"], ...functions.map((it) => [it, it])]} onChoose=${set("function")} />
      <${Choice} label="Outcome" value=${asked.outcome} onChoose=${set("outcome")}
        options=${[["", "Any outcome"], ["success", "Success"], ["function_error", "Error of the function"], ["timeout", "Timeout"]]} />
      <${Choice} label="Trigger" value=${asked.trigger} onChoose=${set("trigger")}
        options=${[["", "Any trigger"], ...["http", "queue", "event", "every", "cron", "at", "invoke", "send"].map((it) => [it, it])]} />
      <${Choice} label="Time" value=${asked.since} options=${SPANS} onChoose=${set("since")} />
      <${Filter} label="Correlation id" value=${asked.correlation_id} onText=${set("correlation_id")} />
    </div>
    ${error && html`<${Failed} error=${error} again=${again} />`}
    ${!data && !error && html`<${Loading} />`}
    ${data?.running?.length > 0 && html`<section class="card"><header><h2>Running now</h2></header>
      <${Table} label="Running invocations" rows=${data.running} id=${keyOf} columns=${RUNNING} /></section>`}
    ${data && (data.invocations.length
      ? html`<section class="card"><header><h2>Ended</h2></header><${InvocationTable} rows=${data.invocations} /></section>`
      : html`<${Empty} title=${filtered ? "No invocation matches" : "No invocation has ended yet"}>
          <p>${filtered ? "Take filters away, or search for the id." : "Summaries are collected while a console is open. Call a function, and it appears here."}</p><//>`)}`;
}

/** @param {any} it */
function keyOf(it) {
  return `${it.instance} ${it.id} ${it.function} ${it.attempt} ${it.started ?? it.since}`;
}

const NAMED = { name: "Function", by: (/** @type {any} */ it) => it.function,
  cell: (/** @type {any} */ it) => html`<a href=${href(["invocations", it.id])}><${Text} text=${it.function} /></a>` };
const ID = { name: "Id", optional: true, cell: (/** @type {any} */ it) => html`<span class="muted"><${Text} text=${String(it.id).slice(0, 13)} code /></span>` };
const TRIGGER = { name: "Trigger", optional: true, cell: (/** @type {any} */ it) => html`${visible(it.trigger ?? "")}${it.attempt > 1 && html`<span class="muted"> · attempt ${it.attempt}</span>`}` };

const RUNNING = [NAMED, { name: "Since", num: true, by: (/** @type {any} */ it) => it.since, cell: (/** @type {any} */ it) => html`<${Time} at=${it.since} />` }, TRIGGER, ID];
const ENDED = [
  NAMED,
  { name: "Outcome", by: (/** @type {any} */ it) => it.outcome, cell: (/** @type {any} */ it) => html`<${State} of=${it.outcome === "success" ? "success" : "failed"} />
    ${it.error_type && html`<div class="small muted data"><${Text} text=${it.error_type} /></div>`}` },
  { name: "Started", by: (/** @type {any} */ it) => it.started, cell: (/** @type {any} */ it) => clock(it.started) },
  { name: "Took", num: true, by: (/** @type {any} */ it) => it.duration, cell: (/** @type {any} */ it) => duration(it.duration) },
  TRIGGER, ID,
];

/** @param {{ rows: any[] }} props */
export function InvocationTable({ rows }) {
  return html`<${Table} label="Ended invocations" rows=${rows} id=${keyOf} columns=${ENDED} sort="Started" descending />`;
}

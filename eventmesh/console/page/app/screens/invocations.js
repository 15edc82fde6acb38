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

const SPANS = [["", "As long as it is kept"], ["60", "The last minute"], ["600", "The last 10 minutes"], ["3600", "The last hour"], ["86400", "The last day"]];
const FILTERS = ["function", "outcome", "trigger", "correlation_id", "since"];

/** @param {{ route: import("../router.js").Route }} props */
export function Invocations({ route }) {
  if (route.path[1] !== undefined) return html`<${InvocationScreen} key=${route.path[1]} id=${route.path[1]} />`;
  const asked = Object.fromEntries(FILTERS.map((name) => [name, route.query.get(name) ?? ""]));
  const since = Number(asked.since) > 0 ? String(Math.floor(Date.now() / 10_000) * 10 - Number(asked.since)) : "";
  const before = route.query.get("before") ?? "";
  const { data, error, again } = useAnswer(path(["invocations"], { ...asked, since, before, limit: "200" }), before ? 0 : 2);
  const functions = [...mesh.functions.value.keys()].sort();
  const set = (/** @type {string} */ name) => (/** @type {string} */ value) => setQuery({ [name]: value, before: "" });
  const filtered = Object.values(asked).some(Boolean);
  return html`
    <${Head} title="Invocations" about=${data?.history ? `Processes remember the latest; what they told is kept for ${duration(data.history.keep)}. Successes are samples.`
      : "Failures are always kept, successes are samples. An id in the search finds the rest."} />
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
    ${data?.history && html`<${HistoryNote} of=${data.history} />`}
    ${!data && !error && html`<${Loading} />`}
    ${data?.running?.length > 0 && html`<section class="card"><header><h2>Running now</h2></header>
      <${Table} label="Running invocations" rows=${data.running} id=${keyOf} columns=${RUNNING} /></section>`}
    ${data && (data.invocations.length
      ? html`<section class="card"><header><h2>Ended</h2></header><${InvocationTable} rows=${data.invocations} /></section>`
      : data.next ? html`<${Empty} title="None on this page"><p>Older pages may have some.</p><//>`
      : html`<${Empty} title=${filtered || before ? "No invocation matches" : "No invocation has ended yet"}>
          <p>${filtered ? "Take filters away, or search for the id." : "Summaries are collected while a console is open. Call a function, and it appears here."}</p><//>`)}
    ${(before || data?.next) && html`<p class="row">
      ${before && html`<a class="button" href=${href(["invocations"], asked)}>Newest</a>`}
      ${data?.next && html`<a class="button" href=${href(["invocations"], { ...asked, before: data.next })}>Older</a>`}</p>`}`;
}

/** What is missing in the history, if anything is. @param {{ of: any }} props */
function HistoryNote({ of }) {
  if (of.unavailable) return html`<p class="note bad"><${Text} text=${of.unavailable} /></p>`;
  return of.dropped > 0 && html`<p class="note">${of.dropped} runs are missing in the history: its database was away or slow.</p>`;
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
    ${it.error_type && html`<div class="small muted data"><${Text} text=${it.error_type} /></div>`}
    ${it.history && html`<div class="small muted">from the history</div>`}` },
  { name: "Started", by: (/** @type {any} */ it) => it.started, cell: (/** @type {any} */ it) => clock(it.started) },
  { name: "Took", num: true, by: (/** @type {any} */ it) => it.duration, cell: (/** @type {any} */ it) => duration(it.duration) },
  TRIGGER, ID,
];

/** @param {{ rows: any[] }} props */
export function InvocationTable({ rows }) {
  return html`<${Table} label="Ended invocations" rows=${rows} id=${keyOf} columns=${ENDED} sort="Started" descending />`;
}

// @ts-check
/** When timers fire; fires one now, pauses and resumes them. */

import { ask, may, path } from "../api.js";
import { clock, duration, visible } from "../format.js";
import { Fragment, html } from "../html.js";
import { href, setQuery } from "../router.js";
import { confirm, tell } from "../ui/dialogs.js";
import { Choice, Empty, Failed, Filter, Head, Loading, State, Table, Text, Time } from "../ui/parts.js";
import { useAnswer } from "../use.js";

const STATES = /** @type {[string, string][]} */ ([["", "All"], ["active", "Active"], ["paused", "Paused"]]);

/** @param {any} it */
const stateOf = (it) => (it.paused === null ? "active" : "paused");
/** @param {any} it */
const keyOf = (it) => `${it.function} ${it.schedule}`;

/** @param {{ route: import("../router.js").Route }} props */
export function Timers({ route }) {
  const { data, error, again } = useAnswer(path(["timers"]), 3);
  const text = route.query.get("q") ?? "";
  const asked = text.toLowerCase();
  const state = route.query.get("state") ?? "";
  /** @type {any[]} */
  const all = data?.timers ?? [];
  const rows = all.filter((it) => keyOf(it).toLowerCase().includes(asked) && (!state || stateOf(it) === state));
  const none = all.length
    ? html`<${Empty} title="No timer matches"><p>Take words away from the filter.</p><//>`
    : html`<${Empty} title="No timers"><p>They appear here while a process of their service fires them: <code>@service.function(on.every("10s"))</code>.</p><//>`;
  return html`
    <${Head} title="Timers" about="Each moment fires once, whichever process leads. A pause is kept at the broker." />
    ${error && html`<${Failed} error=${error} again=${again} />`}
    ${data?.incomplete.map((/** @type {string} */ what) => html`<p key=${what} class="note">Not all is shown: <${Text} text=${what} /></p>`)}
    <div class="filters">
      <${Filter} label="Function or schedule" value=${text} onText=${(/** @type {string} */ q) => setQuery({ q })} />
      <${Choice} label="State" value=${state} options=${STATES} onChoose=${(/** @type {string} */ chosen) => setQuery({ state: chosen })} />
    </div>
    ${!data ? !error && html`<${Loading} />` : rows.length
      ? html`<div class="card"><${Table} label="Timers" rows=${rows} id=${keyOf} columns=${columns(again)} sort="Next" /></div>` : none}`;
}

/** @param {any} it @param {"run" | "pause" | "resume"} verb @param {() => void} again */
async function change(it, verb, again) {
  const said = { run: "has fired", pause: "is paused", resume: "fires again" }[verb];
  try {
    await ask(path(["timers", it.function, verb]), { schedule: it.schedule });
    tell(`${it.function}: ${it.schedule} ${said}.`);
  } catch (error) {
    tell(/** @type {Error} */ (error).message, { bad: true });
  }
  again();
}

/** @param {any} it @param {() => void} again */
async function pause(it, again) {
  const about = "It fires no more until somebody resumes it. Moments that pass meanwhile do not fire.";
  if (await confirm({ title: `Pause ${it.function}?`, about, action: "Pause" })) change(it, "pause", again);
}

/** @param {number[]} moments */
const list = (moments) => moments.map((at) => clock(at)).join(", ");

/** @param {() => void} again */
const columns = (again) => [
  { name: "Function", by: (/** @type {any} */ it) => it.function, cell: (/** @type {any} */ it) => html`<a href=${href(["functions", it.function])}><${Text} text=${it.function} /></a>` },
  { name: "Schedule", by: (/** @type {any} */ it) => it.schedule, cell: (/** @type {any} */ it) => html`<${Text} text=${it.schedule} code />
    <div class="small muted">${[`catch up: ${visible(it.catch_up)}`, it.jitter > 0 && `up to ${duration(it.jitter)} later`].filter(Boolean).join(" · ")}</div>` },
  { name: "State", by: stateOf, cell: (/** @type {any} */ it) => html`<${State} of=${stateOf(it)} />
    ${it.paused !== null && html`<div class="small muted"><${Time} at=${it.paused} /></div>`}` },
  { name: "Last", num: true, optional: true, by: (/** @type {any} */ it) => it.last[0], cell: (/** @type {any} */ it) => html`<span title=${list(it.last)}><${Time} at=${it.last[0]} /></span>
    ${it.last.length > 0 && html`<div class="small"><a href=${href(["invocations"], { function: it.function, trigger: it.kind })}>Runs</a></div>`}` },
  { name: "Next", num: true, by: (/** @type {any} */ it) => (it.paused === null ? it.next[0] : undefined) ?? Infinity, cell: (/** @type {any} */ it) => it.paused === null && it.next.length
    ? html`<span title=${list(it.next)}><${Time} at=${it.next[0]} /></span><div class="small muted">${clock(it.next[0])}</div>` : html`<span class="muted">–</span>` },
  { name: "", num: true, cell: (/** @type {any} */ it) => may("manage") && html`<${Fragment}>
    <button aria-label=${`Run ${visible(keyOf(it))} now`} onClick=${() => change(it, "run", again)}>Run now</button>${" "}
    ${it.paused === null
      ? html`<button aria-label=${`Pause ${visible(keyOf(it))}`} onClick=${() => pause(it, again)}>Pause…</button>`
      : html`<button class="primary" aria-label=${`Resume ${visible(keyOf(it))}`} onClick=${() => change(it, "resume", again)}>Resume</button>`}<//>` },
];

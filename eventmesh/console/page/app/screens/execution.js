// @ts-check
/** One execution of a durable function: its history, what it waits for, and what can be done with it. */

import { ask, may, path } from "../api.js";
import { clock, count, visible } from "../format.js";
import { Fragment, html, useState } from "../html.js";
import { href } from "../router.js";
import { confirm, tell } from "../ui/dialogs.js";
import { Card, Empty, Failed, Head, Json, Loading, State, Text, Time } from "../ui/parts.js";
import { JsonField } from "../ui/schema-form.js";
import { useAnswer } from "../use.js";

const ENDED = ["SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED"];

/** @param {{ id: string, name: string }} props */
export function ExecutionScreen({ id, name }) {
  const about = useAnswer(path(["executions", id], { function: name }), 3);
  const past = useAnswer(path(["executions", id, "history"], { function: name }), 3);
  const it = about.data;
  const again = () => { about.again(); past.again(); };
  const crumb = html`<a href=${href(["executions"])}>Executions</a>${it && html` / <a href=${href(["executions"], { function: it.function })}><${Text} text=${it.function} /></a>`}`;
  if (!it) {
    return html`<${Head} title=${html`<${Text} text=${id} code />`} crumb=${crumb} />
      ${about.error ? html`<${Failed} error=${about.error} again=${again} />` : html`<${Loading} />`}`;
  }
  const ended = ENDED.includes(it.status);
  return html`
    <${Head} title=${html`<${Text} text=${it.name || id} code />`} crumb=${crumb}>
      ${may("manage") && !ended && html`<${Fragment}>
        ${it.paused === null && html`<button onClick=${() => change(it, "pause", again)}>Pause</button>`}
        ${(it.paused !== null || it.requested) && html`<button onClick=${() => change(it, "resume", again)}>Resume</button>`}
        <button class="danger" onClick=${() => stop(it, again)}>Stop…</button><//>`}
    <//>
    ${about.error && html`<${Failed} error=${about.error} again=${again} />`}
    ${it.error && html`<p class="note bad data"><${Text} text=${[it.error.type, it.error.message].filter(Boolean).join(": ")} /></p>`}
    ${it.pause_reason && it.paused !== null && html`<p class="note data">Paused: <${Text} text=${it.pause_reason} /></p>`}
    ${it.dead_letter && !ended && html`<p class="note bad">Its next turn is <a href=${href(["failures", it.function, it.dead_letter])}>a dead letter</a>: see why, and retry it.</p>`}
    <div class="columns">
      <div class="stack">
        <${Card} title="History">${past.data ? html`<${History} of=${past.data} />`
          : past.error ? html`<${Failed} error=${past.error} again=${again} />` : html`<${Loading} />`}<//>
        ${it.result !== null && html`<${Card} title="Result"><${Json} label="Result" value=${it.result} /><//>`}
      </div>
      <div class="stack">
        <${Card} title="What is known"><dl class="facts">
          <dt>Status</dt><dd><${State} of=${String(it.status).toLowerCase()} /></dd>
          <dt>Function</dt><dd><a href=${href(["functions", it.function])}><${Text} text=${it.function} /></a></dd>
          <dt>Id</dt><dd><${Text} text=${it.id} code /></dd>
          ${it.version && html`<${Fragment}><dt>Version</dt><dd><${Text} text=${it.version} code /></dd><//>`}
          ${it.caller && html`<${Fragment}><dt>Waited for by</dt><dd><a href=${href(["executions", it.caller])}><${Text} text=${it.caller} code /></a></dd><//>`}
          ${it.principal && html`<${Fragment}><dt>Begun by</dt><dd><${Text} text=${it.principal} code /></dd><//>`}
          <dt>Started</dt><dd>${clock(it.started)} (<${Time} at=${it.started} />)</dd>
          ${it.ended !== null && html`<${Fragment}><dt>Ended</dt><dd>${clock(it.ended)} (<${Time} at=${it.ended} />)</dd><//>`}
          ${it.due !== null && html`<${Fragment}><dt>Goes on</dt><dd><${Time} at=${it.due} /></dd><//>`}
          <dt>Turns</dt><dd>${count(it.turns)}</dd>
          <dt>Operations</dt><dd>${count(it.operations)}</dd>
        </dl><//>
        ${it.open.length > 0 && html`<${Card} title="Waits for"><${Open} operations=${it.open} /><//>`}
        ${!ended && may("invoke") && it.open.some((/** @type {any} */ each) => each.type === "CALLBACK") && html`<${Complete} again=${again} />`}
      </div>
    </div>`;
}

/** @param {{ operations: any[] }} props */
function Open({ operations }) {
  return html`<ul class="timeline">${operations.map((each) => html`<li key=${each.id}>
    <div class="row"><span class="tag">${visible(each.type)}</span><${Text} text=${each.name || each.id} /><${State} of=${String(each.status).toLowerCase()} /></div>
    <div class="small muted">since <${Time} at=${each.started} />${each.due !== null && html`, due <${Time} at=${each.due} />`}
      ${each.function && html`, of <a href=${href(["functions", each.function])}><${Text} text=${each.function} /></a>`}</div></li>`)}</ul>`;
}

const HEAD = ["EventId", "EventTimestamp", "EventType", "Id", "Name", "ParentId", "SubType"];

/** @param {{ of: any }} props */
function History({ of }) {
  if (!of.events.length) return html`<${Empty} title="Nothing has happened yet" />`;
  return html`<ol class="timeline" aria-label="History">${of.events.map((/** @type {any} */ event) => {
    const details = Object.fromEntries(Object.entries(event).filter(([key]) => !HEAD.includes(key)));
    return html`<li key=${event.EventId} class=${toneOf(event.EventType)}>
      <div class="row"><b>${visible(words(event.EventType))}</b>${(event.Name || event.Id) && html`<${Text} text=${event.Name || event.Id} />`}
        <span class="muted small">${clock(event.EventTimestamp)}</span></div>
      ${Object.keys(details).length > 0 && html`<details><summary>Details</summary><${Json} label=${`Details of event ${event.EventId}`} value=${details} /></details>`}
    </li>`;
  })}</ol>${of.more && html`<p class="muted">These are the first ${of.events.length}; <code>eventmesh durable history</code> prints all.</p>`}`;
}

/** @param {unknown} kind */
function words(kind) {
  return String(kind).replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

/** @param {unknown} kind */
function toneOf(kind) {
  const text = String(kind);
  return /Failed|TimedOut|Stopped/.test(text) ? "bad" : /Succeeded/.test(text) ? "good" : "";
}

/** @param {any} it @param {"stop" | "pause" | "resume"} verb @param {() => void} again @param {string} [reason] */
async function change(it, verb, again, reason = "") {
  try {
    const { status } = await ask(path(["executions", it.id, verb], { function: it.function }), { reason });
    tell(`${it.name || it.id} is ${String(status).toLowerCase().replaceAll("_", " ")}.`);
  } catch (error) {
    tell(/** @type {Error} */ (error).message, { bad: true });
  }
  again();
}

/** @param {any} it @param {() => void} again */
async function stop(it, again) {
  const about = "It ends for good. What runs may record nothing more, and nothing is undone.";
  if (await confirm({ title: `Stop ${it.name || it.id}?`, about, action: "Stop", danger: true })) change(it, "stop", again, "stopped at the console");
}

/** @param {{ again: () => void }} props */
function Complete({ again }) {
  const [callback, setCallback] = useState("");
  const [result, setResult] = useState(/** @type {any} */ (null));
  const [failure, setFailure] = useState("");
  const [turn, setTurn] = useState(0);
  /** @param {unknown} outcome */
  const send = async (outcome) => {
    try {
      await ask("callbacks", { callback: callback.trim(), .../** @type {object} */ (outcome) });
      tell("It is stored. The execution goes on if its callback was open.");
      setCallback("");
      setTurn(turn + 1);
    } catch (error) {
      tell(/** @type {Error} */ (error).message, { bad: true });
    }
    again();
  };
  return html`<${Card} title="Complete a callback"><form class="stack" onSubmit=${(/** @type {Event} */ event) => {
    event.preventDefault();
    send(failure ? { error: failure } : { result });
  }}>
    <label class="field">Id of the callback<input type="password" autocomplete="off" required value=${callback} onInput=${(/** @type {any} */ event) => setCallback(event.target.value)} />
      <span class="hint">It is a secret, which the function has given to whoever completes it.</span></label>
    <${JsonField} key=${turn} label="Result" rows=${3} value=${result} onValue=${setResult} />
    <label class="field">Or an error<input value=${failure} maxlength="1000" onInput=${(/** @type {any} */ event) => setFailure(event.target.value)} /></label>
    <div class="row"><button class="primary" disabled=${!callback.trim() || (!failure && result === undefined)}>Complete</button>
      <button type="button" disabled=${!callback.trim()} onClick=${() => send({ heartbeat: true })}>Heartbeat</button></div>
  </form><//>`;
}

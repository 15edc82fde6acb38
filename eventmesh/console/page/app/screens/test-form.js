// @ts-check
/** Invokes a function with what a form made of its schema says. Examples are kept in this browser. */

import { ask, path } from "../api.js";
import { html, useState } from "../html.js";
import { href } from "../router.js";
import { Card, Json, Text } from "../ui/parts.js";
import { example, JsonField, SchemaForm } from "../ui/schema-form.js";

const KEY = "eventmesh.console.examples.";
const KEPT = 20;

/** Seconds to wait for a result: the longest that a function on Lambda may take, and a bit. */
export const LONGEST = 910;

/** @param {string} name @returns {{ title: string, payload: any }[]} */
function load(name) {
  try {
    const found = JSON.parse(localStorage.getItem(KEY + name) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/** @param {{ name: string, schema: any }} props */
export function TestForm({ name, schema }) {
  const [payload, setPayload] = useState(() => (schema ? example(schema, schema) : undefined));
  const [asJson, setAsJson] = useState(!schema);
  const [saved, setSaved] = useState(() => load(name));
  const [title, setTitle] = useState("");
  const [turn, setTurn] = useState(0);
  const [outcome, setOutcome] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  /** @param {"sync" | "async"} mode */
  const invoke = async (mode) => {
    setBusy(true);
    setOutcome(null);
    try {
      setOutcome({ mode, ...(await ask(path(["functions", name, "invoke"]), { payload: payload ?? null, mode }, undefined, LONGEST)) });
    } catch (error) {
      setOutcome({ failure: error });
    } finally {
      setBusy(false);
    }
  };
  /** @param {{ title: string, payload: any }[]} next */
  const keep = (next) => {
    setSaved(next);
    localStorage.setItem(KEY + name, JSON.stringify(next));
  };
  /** @param {any} value */
  const replace = (value) => {
    setPayload(value);
    setTurn(turn + 1);
  };
  return html`<${Card} title="Test" aside=${schema && html`<button type="button" class="ghost" onClick=${() => setAsJson(!asJson)}>${asJson ? "As a form" : "As JSON"}</button>`}>
    <form class="stack" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      invoke("sync");
    }}>
      ${asJson
        ? html`<${JsonField} key=${`json ${turn}`} label="Payload" rows=${8} value=${payload} onValue=${setPayload} />`
        : html`<${SchemaForm} key=${`form ${turn}`} schema=${schema} root=${schema} name="Payload" value=${payload} onValue=${setPayload} required />`}
      <div class="row">
        <button class="primary" disabled=${busy}>${busy ? "Waiting…" : "Invoke"}</button>
        <button type="button" disabled=${busy} onClick=${() => invoke("async")}>Send</button>
        <span class="muted small">Invoke waits for the result. Send stores it to be run.</span>
      </div>
    </form>
    ${outcome && html`<${Outcome} of=${outcome} />`}
    <details>
      <summary>Saved examples (${saved.length})</summary>
      <div class="stack" style=${{ paddingTop: "10px" }}>
        ${saved.map((/** @type {any} */ it, /** @type {number} */ index) => html`<div key=${index} class="row">
          <span class="grow"><${Text} text=${it.title} /></span>
          <button type="button" onClick=${() => replace(it.payload)}>Use</button>
          <button type="button" class="ghost" onClick=${() => keep(saved.filter((/** @type {any} */ _, /** @type {number} */ at) => at !== index))}>Delete</button></div>`)}
        <form class="row" onSubmit=${(/** @type {Event} */ event) => {
          event.preventDefault();
          if (title.trim()) keep([...saved.slice(1 - KEPT), { title: title.trim(), payload }]);
          setTitle("");
        }}>
          <label class="field grow">Name of the example<input value=${title} maxlength="80" onInput=${(/** @type {any} */ event) => setTitle(event.target.value)} /></label>
          <button style=${{ alignSelf: "end" }}>Save</button>
        </form>
      </div>
    </details>
  <//>`;
}

/** @param {{ of: any }} props */
export function Outcome({ of }) {
  if (of.failure) {
    const error = of.failure.problem?.error;
    return html`<div class="stack" role="status"><div class="note bad data"><${Text} text=${error?.type ? `${error.type}: ${error.message}` : of.failure.message} /></div>
      ${error?.traceback && html`<${Json} label="Traceback" value=${error.traceback} />`}</div>`;
  }
  const link = html`<a href=${href(["invocations", of.id])}>${"Invocation "}<${Text} text=${of.id} code /></a>`;
  return html`<div class="stack" role="status">
    <p class="note good">${of.mode === "async" ? "Stored; it will be run. " : "It succeeded. "}${link}</p>
    ${of.mode === "sync" && html`<${Json} label="Result" value=${of.result} />`}</div>`;
}

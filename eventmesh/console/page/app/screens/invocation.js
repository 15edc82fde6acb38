// @ts-check
/** One invocation: where it is, what came before and after it, and what failed. */

import { ask, may, path } from "../api.js";
import { clock, duration, pretty, visible } from "../format.js";
import { Fragment, html, useState } from "../html.js";
import { href } from "../router.js";
import { Card, Empty, Failed, Head, Json, Loading, State, Text, Time } from "../ui/parts.js";
import { Waterfall } from "../ui/waterfall.js";
import { useAnswer } from "../use.js";
import { LONGEST, Outcome } from "./test-form.js";

/** @param {{ id: string }} props */
export function InvocationScreen({ id }) {
  const { data, error, again } = useAnswer(path(["invocations", id]), 2);
  const crumb = html`<a href=${href(["invocations"])}>Invocations</a>`;
  const title = html`<${Text} text=${id} code />`;
  if (!data) return html`<${Head} title=${title} crumb=${crumb} />${error ? html`<${Failed} error=${error} again=${again} />` : html`<${Loading} />`}`;
  const chain = data.chain ?? [];
  const mine = chain.filter((/** @type {any} */ it) => it.id === id);
  const correlation = chain[0]?.correlation_id;
  return html`
    <${Head} title=${title} crumb=${crumb} about=${data.detail && visible(data.detail)}>
      ${correlation && html`<a class="button" href=${href(["invocations"], { correlation_id: correlation })}>All of this chain</a>`}
    <//>
    <p><${State} of=${data.state} /></p>
    ${data.state === "unknown" && html`<${Empty} title="Nothing is known of this id">
      <p>It has succeeded some time ago, or never existed. With a store (<code>EVENTMESH_STORE</code>) outcomes are kept.</p><//>`}
    ${chain.length > 0 && html`<${Card} title="What it was a part of"><${Waterfall} runs=${chain} here=${id} /><//>`}
    ${data.where?.length > 0 && html`<${Card} title="Where it is">${data.where.map((/** @type {any} */ it, /** @type {number} */ index) => html`<dl key=${index} class="facts">
      <dt>Function</dt><dd><a href=${href(["functions", it.function])}><${Text} text=${it.function} /></a></dd>
      ${it.state && html`<${Fragment}><dt>State</dt><dd><${State} of=${it.state} /></dd><//>`}
      ${it.since && html`<dt>Since</dt><dd><${Time} at=${it.since} /></dd>`}
      ${it.delayed_until && html`<dt>Delayed until</dt><dd>${clock(it.delayed_until)} (<${Time} at=${it.delayed_until} />)</dd>`}
      ${it.attempt && html`<dt>Attempt</dt><dd>${it.attempt}</dd>`}
      ${it.instance && html`<dt>Process</dt><dd><${Text} text=${it.instance} code /></dd>`}
      ${it.error && html`<dt>Error</dt><dd><${Text} text=${it.error} /></dd>`}</dl>`)}<//>`}
    ${mine.map((/** @type {any} */ run, /** @type {number} */ index) => html`<${Run} key=${index} run=${run} />`)}
    ${(data.dead_letters ?? []).map((/** @type {any} */ it) => html`<${Card} key=${it.function} title="Dead letter"
      aside=${html`<a href=${href(["failures", it.function, it.id])}>Retry or edit it</a>`}>
      <p class="bad-text"><${Text} text=${`${it.error_type}: ${it.error_message}`} /></p>
      ${it.traceback && html`<${Json} label="Traceback" value=${it.traceback} />`}<//>`)}`;
}

/** @param {{ run: any }} props */
function Run({ run }) {
  return html`<${Card} title=${html`Attempt ${run.attempt ?? 1} of ${visible(run.function)}`} aside=${html`<${State} of=${run.outcome ?? "running"} />`}>
    <dl class="facts">
      <dt>Started</dt><dd>${clock(run.started ?? run.since)}</dd>
      ${run.duration !== undefined && html`<${Fragment}><dt>Took</dt><dd>${duration(run.duration)}</dd><//>`}
      <dt>Fired by</dt><dd>${visible(run.trigger ?? "–")}${run.caller && html`, from <${Text} text=${run.caller} />`}</dd>
      <dt>Process</dt><dd><${Text} text=${run.instance} code /></dd>
      ${run.error_type && html`<dt>Error</dt><dd class="bad-text"><${Text} text=${`${run.error_type}: ${run.error ?? ""}`} /></dd>`}
    </dl>
    ${run.history && html`<p class="muted small">From the history: no process remembers it any more. Payloads are not kept there.</p>`}
    ${run.payload && html`<h3>Payload</h3>${run.redacted && html`<p class="muted small">It was recorded redacted: replay it with the form of its function.</p>`}
      <${Json} label="Payload" value=${indented(run.payload)} />
      ${may("invoke") && !run.redacted && html`<${Replay} run=${run} />`}`}
  <//>`;
}

/** @param {string} text  JSON that was recorded */
function indented(text) {
  try {
    return pretty(JSON.parse(text));
  } catch {
    return text;
  }
}

/** Runs an invocation again, against the code as it is now. @param {{ run: any }} props */
function Replay({ run }) {
  const [outcome, setOutcome] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const replay = async () => {
    setBusy(true);
    try {
      setOutcome(await ask(path(["invocations", run.id, "replay"]), { function: run.function }, undefined, LONGEST));
    } catch (error) {
      setOutcome({ failure: error });
    } finally {
      setBusy(false);
    }
  };
  return html`<div class="row"><button disabled=${busy} onClick=${replay}>${busy ? "Waiting…" : "Replay"}</button>
      <span class="muted small">Runs it again with this payload and the code as it is now.</span></div>
    ${outcome && html`<${Outcome} of=${{ mode: "sync", ...outcome }} />`}`;
}

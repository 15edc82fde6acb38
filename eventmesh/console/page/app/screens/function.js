// @ts-check
/** One function: what it does, may do and takes, and a form to invoke it. */

import { may } from "../api.js";
import { bytes, count, duration, percent, rate, visible } from "../format.js";
import { html } from "../html.js";
import { mesh, sampled, samplesOf } from "../live.js";
import { href } from "../router.js";
import { Chart } from "../ui/chart.js";
import { Card, Empty, Failed, Head, Json, Text } from "../ui/parts.js";
import { useAnswer } from "../use.js";
import { path } from "../api.js";
import { Triggers } from "./functions.js";
import { InvocationTable } from "./invocations.js";
import { TestForm } from "./test-form.js";

/** @param {{ name: string }} props */
export function FunctionScreen({ name }) {
  const { data, error, again } = useAnswer(path(["functions", name]));
  const it = mesh.functions.value.get(name);
  const crumb = html`<a href=${href(["functions"])}>Functions</a>`;
  if (!it) {
    return html`<${Head} title=${visible(name)} crumb=${crumb} /><${Empty} title="No process serves this function now">
      <p>Its messages wait in its inbox. Start its service again, or see its <a href=${href(["failures", name])}>dead letters</a>.</p><//>`;
  }
  const dead = mesh.failures.value.get(name)?.count ?? 0;
  return html`
    <${Head} title=${visible(name)} crumb=${crumb} about=${data?.description && visible(data.description)}>
      <a class="button" href=${href(["invocations"], { function: name })}>Invocations</a>
      ${dead > 0 && html`<a class="button" href=${href(["failures", name])}>${count(dead)} dead letters</a>`}
    <//>
    <dl class="tiles">
      <div class="tile"><dt>Rate</dt><dd>${rate(it.rate)}</dd></div>
      <div class="tile"><dt>Failing</dt><dd class=${it.errors > 0 ? "bad-text" : ""}>${it.rate > 0 ? percent(Math.min(1, it.errors / it.rate)) : rate(it.errors)}</dd></div>
      <div class="tile"><dt>p50 · p95 · p99</dt><dd>${duration(it.p50)} <small>${duration(it.p95)} · ${duration(it.p99)}</small></dd></div>
      <div class="tile"><dt>Running</dt><dd>${count(it.running)} <small>${it.waiting ? `${count(it.waiting)} waiting` : ""}</small></dd></div>
      <div class="tile"><dt>Runs</dt><dd>${count(it.total)} <small>${count(it.failed)} failed</small></dd></div>
    </dl>
    <${Charts} name=${name} />
    <div class="columns">
      <div class="stack">
        ${may("invoke") && data && html`<${TestForm} name=${name} schema=${data.schema} />`}
        <${Recent} name=${name} />
      </div>
      <div class="stack">
        <${Card} title="Declared"><${Declared} it=${it} code=${data?.code} /><//>
        ${error && html`<${Failed} error=${error} again=${again} />`}
        ${data?.schema && html`<${Card} title="What it takes"><${Json} label="JSON schema of the payload" value=${data.schema} /><//>`}
      </div>
    </div>`;
}

/** @param {{ name: string }} props */
function Charts({ name }) {
  sampled.value; // Drawn again with each sample.
  const samples = samplesOf(name);
  const at = samples.map((it) => it.at);
  const values = (/** @type {"rate" | "errors" | "running" | "p50" | "p95" | "p99"} */ key) => samples.map((it) => it[key]);
  return html`<${Card} title="Now" aside=${html`<span class="muted small">Since this page is open, for at most five minutes</span>`}><div class="charts">
    <${Chart} title="Rate" at=${at} say=${rate} lines=${[
      { name: "runs", colour: "--accent", values: values("rate") }, { name: "failures", colour: "--bad", values: values("errors") }]} />
    <${Chart} title="Duration" at=${at} say=${duration} lines=${[
      { name: "p50", colour: "--good", values: values("p50") }, { name: "p95", colour: "--accent", values: values("p95") },
      { name: "p99", colour: "--warn", values: values("p99") }]} />
    <${Chart} title="Concurrency" at=${at} say=${count} lines=${[{ name: "running", colour: "--accent", values: values("running") }]} />
  </div><//>`;
}

/** @param {{ it: any, code: string | undefined }} props */
function Declared({ it, code }) {
  const limits = it.limits ?? {};
  return html`<dl class="facts">
    <dt>Fired by</dt><dd><${Triggers} of=${it} /></dd>
    <dt>Timeout</dt><dd>${limits.timeout ? duration(limits.timeout) : "none"}</dd>
    <dt>Concurrency</dt><dd>${count(limits.concurrency)} a process${limits.reserved_concurrency ? `, ${count(limits.reserved_concurrency)} in the mesh` : ""}</dd>
    <dt>Attempts</dt><dd>${count(it.retry?.attempts)}</dd>
    ${limits.max_payload && html`<dt>Largest payload</dt><dd>${bytes(limits.max_payload)}</dd>`}
    ${it.on_success && html`<dt>On success</dt><dd><${Text} text=${it.on_success} /></dd>`}
    ${it.on_failure && html`<dt>On failure</dt><dd><${Text} text=${it.on_failure} /></dd>`}
    <dt>Access</dt><dd><${Text} text=${it.access} /></dd>
    ${code && html`<dt>Code</dt><dd><${Text} text=${code} code /></dd>`}
    <dt>Processes</dt><dd>${(it.instances ?? []).length}</dd>
  </dl>`;
}

/** @param {{ name: string }} props */
function Recent({ name }) {
  const ended = [...mesh.ended.value.values()].filter((it) => it.function === name);
  ended.sort((one, two) => two.started - one.started);
  return html`<${Card} title="Newest runs" flush aside=${html`<a href=${href(["invocations"], { function: name })}>All</a>`}>
    ${ended.length ? html`<${InvocationTable} rows=${ended.slice(0, 10)} />` : html`<p class="muted" style=${{ padding: "16px" }}>None ended while the console looked.</p>`}
  <//>`;
}

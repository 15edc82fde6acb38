// @ts-check
/** The code under development: why it does not run, what the last save changed, and the log. */

import { count, visible } from "../format.js";
import { html, useEffect, useRef } from "../html.js";
import { mesh } from "../live.js";
import { href } from "../router.js";
import { Card, Empty, Head, Json, State, Table, Text, Time } from "../ui/parts.js";

/** @typedef {{ at: number, files: string[], more: number }} Save */

/** Why nothing runs, on each screen; nothing where the services run. */
export function Broken() {
  const problem = mesh.code.value.get("problem");
  if (!problem) return null;
  return html`<div class="note bad" role="alert">
    <p><strong>${title(problem)}</strong> <${Text} text=${problem.message} /></p>
    <p>Nothing runs until the next save. <a href=${href(["code"])}>What is wrong</a></p>
  </div>`;
}

/** @param {{ kind: string }} problem */
function title(problem) {
  return problem.kind === "failed" ? "The code that was saved does not run." : "The services have ended.";
}

export function Code() {
  const problem = mesh.code.value.get("problem");
  const saved = mesh.code.value.get("saved");
  return html`
    <${Head} title="Code" about="What eventmesh dev saw of the files that were saved, and the log of the process that runs them." />
    ${problem && html`<${Problem} problem=${problem} />`}
    ${saved && html`<${Saved} saved=${saved} />`}
    ${!problem && !saved && html`<${Empty} title="Nothing was saved yet"><p>The code runs as it was when <code>eventmesh dev</code> was started.</p><//>`}
    ${!problem && html`<${Log} />`}`;
}

/** @param {{ problem: any }} props */
function Problem({ problem }) {
  const { saved } = problem;
  return html`<${Card} title=${title(problem)} aside=${html`<${Time} at=${problem.at} />`}>
    <dl class="facts">
      ${problem.file && html`<dt>Where</dt><dd><${Text} text=${`${problem.file}:${problem.line}`} code /></dd>`}
      ${problem.type && html`<dt>Error</dt><dd><${Text} text=${problem.type} code /></dd>`}
      ${saved && html`<dt>Saved</dt><dd><${Files} save=${saved} /></dd>`}
    </dl>
    ${problem.traceback && html`<${Json} label="Traceback" value=${problem.traceback} />`}
    <p>${problem.kind === "failed"
      ? "Nothing runs: the process of the code before was ended when the file was saved, and the messages of its embedded broker are gone."
      : "Nothing runs, and the messages of the embedded broker are gone."}
      ${" "}Requests are answered with 503. The next save starts the services.</p>
  <//>`;
}

/** @param {{ saved: any }} props */
function Saved({ saved }) {
  /** @type {any[]} */
  const rows = [
    ...saved.services.map((/** @type {any} */ it) => ({ ...it, what: "service" })),
    ...saved.functions.map((/** @type {any} */ it) => ({ ...it, what: "function" })),
  ];
  return html`<${Card} title="What the last save changed" flush=${rows.length > 0}
    aside=${html`<span class="muted"><${Files} save=${saved} /> <${Time} at=${saved.at} /></span>`}>
    ${rows.length ? html`<${Table} label="Changes" rows=${rows} id=${(/** @type {any} */ it) => `${it.what} ${it.name}`} columns=${COLUMNS} />`
      : html`<p>No declaration has changed. The handlers run as they were saved.</p>`}
    ${saved.more > 0 && html`<p class="muted">${count(saved.more)} more functions have changed.</p>`}
  <//>`;
}

/** @param {{ save: Save }} props */
function Files({ save }) {
  return html`${save.files.map((file, at) => html`${at > 0 && ", "}<${Text} key=${file} text=${file} code />`)}
    ${save.more > 0 && ` and ${count(save.more)} more`}`;
}

/** @param {{ it: any }} props */
function Changes({ it }) {
  return html`<ul class="changes">
    ${it.changes.map((/** @type {any} */ each, /** @type {number} */ at) => html`<li key=${at}><${Text} text=${each.what} />${" "}
      ${each.before === null ? html`is new: <${Text} text=${each.after} code />`
        : each.after === null ? html`is gone: <${Text} text=${each.before} code />`
        : html`<${Text} text=${each.before} code /> → <${Text} text=${each.after} code />`}</li>`)}
    ${it.more > 0 && html`<li class="muted">${count(it.more)} more</li>`}
  </ul>`;
}

const COLUMNS = [
  { name: "What", cell: (/** @type {any} */ it) => it.what },
  { name: "Name", cell: (/** @type {any} */ it) => it.what === "function" && it.kind !== "removed"
    ? html`<a href=${href(["functions", it.name])}><${Text} text=${it.name} /></a>` : html`<${Text} text=${it.name} />` },
  { name: "Kind", cell: (/** @type {any} */ it) => html`<${State} of=${it.kind} />` },
  { name: "Changes", cell: (/** @type {any} */ it) => html`<${Changes} it=${it} />` },
];

function Log() {
  const lines = [...mesh.log.value.values()];
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const last = [...mesh.log.value.keys()].pop();
  useEffect(() => {
    // Whoever has scrolled up reads on.
    const it = box.current;
    if (it && it.scrollHeight - it.scrollTop - it.clientHeight < NEAR) it.scrollTop = it.scrollHeight;
  }, [last]);
  return html`<${Card} title="Log" aside=${html`<span class="muted">the last ${count(lines.length)} records since the restart</span>`}>
    ${lines.length ? html`<pre class="code" tabindex="0" role="region" aria-label="Log" ref=${box}>
      ${lines.map(({ text }) => `${visible(text)}\n`).join("")}</pre>`
      : html`<p class="muted">Nothing was logged yet.</p>`}
  <//>`;
}

/** Pixels from the end within which the log follows what comes. */
const NEAR = 200;

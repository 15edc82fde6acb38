// @ts-check
/** Search over all that the console knows. */

import { visible } from "../format.js";
import { html, signal, useId, useState } from "../html.js";
import { mesh } from "../live.js";
import { go, href } from "../router.js";
import { Dialog } from "../ui/dialogs.js";
import { screensHere } from "./nav.js";

const open = signal(false);
const SHOWN = 12;
const ID = /^[0-9a-f][0-9a-f-]{7,63}$/i;

export function openPalette() {
  open.value = true;
}

/** @typedef {{ kind: string, text: string, to: string }} Found */

/** @param {string} asked @returns {Found[]} */
function find(asked) {
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  /** @type {Found[]} */
  const all = screensHere().map(({ title, path }) => ({ kind: "Screen", text: title, to: href(path ? [path] : []) }));
  for (const name of mesh.functions.value.keys()) all.push({ kind: "Function", text: name, to: href(["functions", name]) });
  for (const name of mesh.failures.value.keys()) all.push({ kind: "Failures", text: name, to: href(["failures", name]) });
  for (const name of mesh.queues.value.keys()) all.push({ kind: "Queue", text: name, to: href(["queues"], { q: name }) });
  for (const it of mesh.timers.value.values()) {
    all.push({ kind: "Timer", text: `${it.function} ${it.schedule}`, to: href(["timers"], { q: it.function }) });
  }
  for (const it of mesh.instances.value.values()) {
    all.push({ kind: "Instance", text: `${it.host} ${it.pid} ${Object.keys(it.services ?? {}).join(" ")}`, to: href(["instances"], { q: it.id }) });
  }
  const found = all.filter(({ text }) => words.every((word) => text.toLowerCase().includes(word)));
  if (ID.test(asked.trim())) {
    found.unshift(
      { kind: "Invocation", text: asked.trim(), to: href(["invocations", asked.trim()]) },
      { kind: "Correlation", text: asked.trim(), to: href(["invocations"], { correlation_id: asked.trim() }) },
    );
  }
  return found.slice(0, SHOWN);
}

export function Palette() {
  return open.value && html`<${Search} />`;
}

function Search() {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState(0);
  const list = useId();
  const found = find(text);
  const at = Math.min(chosen, Math.max(found.length - 1, 0));
  const close = () => (open.value = false);
  /** @param {Found | undefined} it */
  const choose = (it) => {
    if (!it) return;
    close();
    go(it.to);
  };
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key === "ArrowDown") setChosen((at + 1) % found.length);
    else if (event.key === "ArrowUp") setChosen((at + found.length - 1) % found.length);
    else if (event.key === "Enter") choose(found[at]);
    else return;
    event.preventDefault();
  };
  return html`<${Dialog} label="Search" kind="palette" onClose=${close}>
    <input type="text" role="combobox" aria-label="Search functions, queues, timers, instances and ids" aria-expanded="true"
      aria-controls=${list} aria-activedescendant=${found.length ? `${list}-${at}` : undefined} autocomplete="off" autofocus
      placeholder="A function, queue, timer, instance, or an id" value=${text} onKeyDown=${onKeyDown}
      onInput=${(/** @type {any} */ event) => { setText(event.target.value); setChosen(0); }} />
    <div role="listbox" id=${list} aria-label="Found">
      ${found.map((it, index) => html`<div key=${it.to} role="option" id=${`${list}-${index}`} aria-selected=${index === at}
        onClick=${() => choose(it)}><span class="kind">${it.kind}</span><bdi class="data">${visible(it.text)}</bdi></div>`)}
      ${!found.length && html`<div role="option" aria-selected="false" aria-disabled="true">Nothing has such a name.</div>`}
    </div>
  <//>`;
}

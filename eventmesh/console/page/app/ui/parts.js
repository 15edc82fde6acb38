// @ts-check
/** Small parts that all screens are made of. */

import { exact, pretty, relative, visible } from "../format.js";
import { html, signal, useEffect, useState } from "../html.js";

/** Ticks once a second, for times that are said relative to now. */
const now = signal(Date.now() / 1000);
setInterval(() => {
  if (!document.hidden) now.value = Date.now() / 1000;
}, 1000);

/** Text that somebody else wrote. @param {{ text: unknown, code?: boolean }} props */
export function Text({ text, code = false }) {
  const shown = visible(text ?? "");
  return code ? html`<code class="data">${shown}</code>` : html`<bdi class="data">${shown}</bdi>`;
}

/** A moment, relative to now. @param {{ at: number | null | undefined }} props */
export function Time({ at }) {
  if (at === null || at === undefined || !Number.isFinite(at)) return html`<span class="muted">–</span>`;
  return html`<time dateTime=${exact(at)} title=${exact(at)}>${relative(at, now.value)}</time>`;
}

const TONES = {
  succeeded: "good", success: "good", ok: "good", completed: "good", active: "good", ready: "good", added: "good",
  failed: "bad", error: "bad", dead: "bad", timeout: "bad", timed_out: "bad", stopped: "bad", problem: "bad", lost: "bad", removed: "bad",
  running: "busy", changed: "busy", waiting: "warn", delayed: "warn", retry: "warn", retrying: "warn", throttled: "warn",
  paused: "warn", pausing: "warn", suspended: "warn", draining: "warn", warning: "warn",
};

/** An outcome, in a word and a colour. @param {{ of: string | null | undefined }} props */
export function State({ of }) {
  const word = String(of ?? "unknown");
  const tone = Object.hasOwn(TONES, word) ? TONES[/** @type {keyof typeof TONES} */ (word)] : "idle";
  return html`<span class=${`state ${tone}`}>${visible(word.replaceAll("_", " "))}</span>`;
}

/** What to do where there is nothing to show. @param {{ title: string, children?: unknown }} props */
export function Empty({ title, children }) {
  return html`<div class="card empty"><h2>${title}</h2>${children}</div>`;
}

/** @param {{ error: { message: string }, again?: () => void }} props */
export function Failed({ error, again }) {
  return html`<div class="note bad row" role="alert">
    <span class="grow">${visible(error.message)}</span>
    ${again && html`<button onClick=${again}>Try again</button>`}
  </div>`;
}

export function Loading() {
  return html`<p class="muted" role="status">Loading…</p>`;
}

/** A value as JSON, or as the text that it is. @param {{ value: unknown, label: string }} props */
export function Json({ value, label }) {
  const text = typeof value === "string" ? value : pretty(value);
  return html`<pre class="code" tabindex="0" role="region" aria-label=${label}>${visible(text).replaceAll("⟨U+000A⟩", "\n")}</pre>`;
}

/** The head of a screen. @param {{ title: unknown, about?: unknown, crumb?: unknown, children?: unknown }} props */
export function Head({ title, about, crumb, children }) {
  return html`<div class="head">
    <div class="grow">
      ${crumb && html`<p class="crumb">${crumb}</p>`}
      <h1 class="data">${title}</h1>
      ${about && html`<p>${about}</p>`}
    </div>
    <div class="actions">${children}</div>
  </div>`;
}

/**
 * A part of a screen with a heading.
 * @param {{ title: unknown, aside?: unknown, children?: unknown, flush?: boolean }} props
 */
export function Card({ title, aside, children, flush = false }) {
  return html`<section class="card">
    <header><h2 class="grow">${title}</h2>${aside}</header>
    ${flush ? children : html`<div class="body">${children}</div>`}
  </section>`;
}

/**
 * A table whose columns sort.
 * @template Row
 * @param {{
 *   label: string,
 *   rows: Row[],
 *   columns: { name: string, cell: (row: Row) => unknown, by?: (row: Row) => string | number | null | undefined,
 *     num?: boolean, optional?: boolean }[],
 *   id: (row: Row) => string,
 *   sort?: string,
 *   descending?: boolean,
 * }} props
 */
export function Table({ label, rows, columns, id, sort = "", descending = false }) {
  const [order, setOrder] = useState({ name: sort, down: descending });
  const [shown, setShown] = useState(PAGE);
  const column = columns.find((each) => each.name === order.name);
  const sorted = column?.by ? [...rows].sort((one, two) => compare(column.by?.(one), column.by?.(two))) : rows;
  if (order.down && column?.by) sorted.reverse();
  return html`<div class="table" tabindex="0" role="region" aria-label=${label}>
    <table>
      <thead><tr>${columns.map((each) => html`<th
        key=${each.name} scope="col" class=${classes(each)}
        aria-sort=${each.name === order.name ? (order.down ? "descending" : "ascending") : undefined}>
        ${each.by
          ? html`<button onClick=${() => setOrder({ name: each.name, down: each.name === order.name ? !order.down : Boolean(each.num) })}>
              ${each.name}${each.name === order.name ? (order.down ? " ↓" : " ↑") : ""}</button>`
          : each.name || html`<span class="hidden-text">Actions</span>`}
      </th>`)}</tr></thead>
      <tbody>${sorted.slice(0, shown).map((row) => html`<tr key=${id(row)}>${columns.map((each) => html`<td
        key=${each.name} class=${classes(each)}>${each.cell(row)}</td>`)}</tr>`)}</tbody>
    </table>
    ${sorted.length > shown && html`<p class="row muted" style=${{ padding: "10px 16px" }}>
      ${shown} of ${sorted.length} shown.
      <button onClick=${() => setShown(shown + PAGE * 2)}>Show more</button></p>`}
  </div>`;
}

const PAGE = 200;

/** @param {{ num?: boolean, optional?: boolean }} column */
function classes({ num, optional }) {
  return [num && "num", optional && "optional"].filter(Boolean).join(" ");
}

/** @param {string | number | null | undefined} one @param {string | number | null | undefined} two */
function compare(one, two) {
  if (typeof one === "number" || typeof two === "number") return Number(one ?? -1) - Number(two ?? -1);
  return String(one ?? "").localeCompare(String(two ?? ""));
}

/** A text that changes a filter after a short rest. @param {{ label: string, value: string, onText: (text: string) => void, placeholder?: string }} props */
export function Filter({ label, value, onText, placeholder = "" }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => onText(text), 250);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<label>${label}<input type="search" value=${text} placeholder=${placeholder}
    onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>`;
}

/** @param {{ label: string, value: string, options: [string, string][], onChoose: (value: string) => void }} props */
export function Choice({ label, value, options, onChoose }) {
  return html`<label>${label}<select value=${value} onChange=${(/** @type {any} */ event) => onChoose(event.target.value)}>
    ${options.map(([key, text]) => html`<option key=${key} value=${key}>${visible(text)}</option>`)}
  </select></label>`;
}

// @ts-check
/** Questions, and what came of an action. */

import { visible } from "../format.js";
import { html, signal, useId, useLayoutEffect, useRef, useState } from "../html.js";

/** @typedef {{ id: number, text: string, bad: boolean }} Toast */
/** @typedef {{ title: string, about: unknown, action: string, typed?: string, danger?: boolean, done: (yes: boolean) => void }} Question */

/** @type {{ value: Toast[] }} */
const toasts = signal([]);
/** @type {{ value: Question | null }} */
const question = signal(null);
let last = 0;

/** Say what came of an action. @param {string} text */
export function tell(text, { bad = false } = {}) {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-3), { id, text, bad }];
  if (!bad) setTimeout(() => dismiss(id), 6000);
}

/** @param {number} id */
function dismiss(id) {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

/**
 * Ask before something that cannot be taken back; `typed` is what must be typed first.
 * @param {Omit<Question, "done">} asked
 * @returns {Promise<boolean>}
 */
export function confirm(asked) {
  return new Promise((done) => {
    question.value = { ...asked, done };
  });
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map((toast) => html`<div key=${toast.id} class=${`toast ${toast.bad ? "bad" : ""}`}>
      <span class="grow data">${visible(toast.text)}</span>
      <button class="link" aria-label="Dismiss" onClick=${() => dismiss(toast.id)}>✕</button>
    </div>`)}
  </div>`;
}

/**
 * A modal dialog that is open as long as it is drawn.
 * @param {{ label: string, onClose: () => void, children?: unknown, kind?: string }} props
 */
export function Dialog({ label, onClose, children, kind = "" }) {
  /** @type {{ current: HTMLDialogElement | null }} */
  const element = useRef(null);
  // With the drawing, not in the frame after it: keys typed at once would not go to the dialog.
  useLayoutEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return html`<dialog ref=${element} class=${kind} aria-label=${label} onCancel=${(/** @type {Event} */ event) => {
    event.preventDefault();
    onClose();
  }} onClick=${(/** @type {Event} */ event) => event.target === element.current && onClose()}>${children}</dialog>`;
}

export function Confirmation() {
  const asked = question.value;
  return asked && html`<${Asked} key=${asked.title} asked=${asked} />`;
}

/** @param {{ asked: Question }} props */
function Asked({ asked }) {
  const [text, setText] = useState("");
  const id = useId();
  const ready = !asked.typed || text === asked.typed;
  /** @param {boolean} yes */
  const answer = (yes) => {
    question.value = null;
    asked.done(yes);
  };
  return html`<${Dialog} label=${asked.title} onClose=${() => answer(false)}>
    <form class="stack" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      if (ready) answer(true);
    }}>
      <h2>${visible(asked.title)}</h2>
      <div class="data">${asked.about}</div>
      ${asked.typed && html`<label class="field" for=${id}>Type ${" "}<code class="data">${visible(asked.typed)}</code> to confirm
        <input id=${id} autocomplete="off" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>`}
      <div class="foot">
        <button type="button" onClick=${() => answer(false)}>Cancel</button>
        <button class=${`primary ${asked.danger ? "danger" : ""}`} disabled=${!ready}>${asked.action}</button>
      </div>
    </form>
  <//>`;
}

// @ts-check
/** Keyboard shortcuts, and the dialog that lists them. */

import { html, signal } from "../html.js";
import { go, href } from "../router.js";
import { Dialog } from "../ui/dialogs.js";
import { screensHere } from "./nav.js";
import { openPalette } from "./palette.js";
import { toggleTheme } from "./theme.js";

const open = signal(false);
/** Until when the `g` that was typed counts, in milliseconds of the page. */
let leader = 0;

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.key === "k" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      openPalette();
      return;
    }
    const typing = target instanceof HTMLElement && target.closest("input, textarea, select, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const screen = screensHere().find(({ key }) => key === event.key);
    if (event.timeStamp < leader && screen) go(href(screen.path ? [screen.path] : []));
    else if (event.key === "/") openPalette();
    else if (event.key === "?") open.value = true;
    else if (event.key === "t") toggleTheme();
    else if (event.key !== "g") return;
    leader = event.key === "g" ? event.timeStamp + 1500 : 0;
    event.preventDefault();
  });
}

export function Shortcuts() {
  return open.value && html`<${Dialog} label="Keyboard shortcuts" onClose=${() => (open.value = false)}>
    <div class="stack">
      <h2>Keyboard shortcuts</h2>
      <dl class="shortcuts">
        <dt><kbd>/</kbd> or <kbd>Ctrl</kbd> <kbd>K</kbd></dt><dd>Search</dd>
        <dt><kbd>t</kbd></dt><dd>Theme: auto, dark, light</dd>
        <dt><kbd>?</kbd></dt><dd>These shortcuts</dd>
        ${screensHere().map(({ key, title }) => html`<dt key=${key}><kbd>g</kbd> <kbd>${key}</kbd></dt><dd>${title}</dd>`)}
      </dl>
      <div class="foot"><button onClick=${() => (open.value = false)}>Close</button></div>
    </div>
  <//>`;
}

// @ts-check
/** Asks for a token where the server wants one, or has people log in. */

import { logIn, login, tokenWanted, useToken } from "../api.js";
import { visible } from "../format.js";
import { html, useState } from "../html.js";
import { Dialog } from "../ui/dialogs.js";

export function Access() {
  return tokenWanted.value && html`<${Form} why=${tokenWanted.value} />`;
}

/** @param {{ why: string }} props */
function Form({ why }) {
  const [token, setToken] = useState("");
  return html`<${Dialog} label="Sign in" onClose=${() => {}}>
    <form class="stack" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      if (token.trim()) useToken(token);
    }}>
      <h2>Sign in</h2>
      <p class="muted data">${visible(why)}</p>
      ${login.value && html`<button type="button" class="primary" onClick=${logIn}>Log in</button>`}
      ${(!login.value || login.value.tokens) && html`
      <label class="field">${login.value ? "Or a token" : "Token"}
        <input type="password" autocomplete="off" value=${token} onInput=${(/** @type {any} */ event) => setToken(event.target.value)} />
        <span class="hint">It is kept until this tab is closed. <code>eventmesh token create</code> makes one.</span>
      </label>
      <div class="foot"><button class=${login.value ? "" : "primary"}>${login.value ? "Use the token" : "Sign in"}</button></div>`}
    </form>
  <//>`;
}

// @ts-check
/** The console: its frame, and the screen that the address names. */

import { logOut, me } from "./api.js";
import { Access } from "./frame/access.js";
import { startKeys, Shortcuts } from "./frame/keys.js";
import { Nav, screenOf } from "./frame/nav.js";
import { openPalette, Palette } from "./frame/palette.js";
import { theme, toggleTheme } from "./frame/theme.js";
import { html, render } from "./html.js";
import { connection, follow, known } from "./live.js";
import { route, startRouter } from "./router.js";
import { Broken } from "./screens/code.js";
import { Confirmation, tell, Toasts } from "./ui/dialogs.js";
import { Loading } from "./ui/parts.js";

const STATES = { opening: "Connecting…", live: "Live", lost: "Connection lost, trying again…" };

function Console() {
  const { screen: Screen, title } = screenOf(route.value.path[0]);
  document.title = `${title} · eventmesh`;
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <div class="frame">
      <${Nav} />
      <div class="page">
        <header class="bar">
          <button class="search-button" onClick=${openPalette}>Search <kbd>/</kbd></button>
          <span class="live" role="status" data-state=${connection.value}>${STATES[connection.value]}</span>
          <button class="ghost" onClick=${toggleTheme} aria-label=${`Theme: ${theme.value}. Change it`}>
            ${theme.value === "dark" ? "Dark" : theme.value === "light" ? "Light" : "Auto"}</button>
          ${me.value?.session && html`<button class="ghost" onClick=${leave}>Log out</button>`}
        </header>
        <main id="main" tabindex="-1">
          ${me.value?.read_only && html`<p class="note calm">Read only: this console shows the mesh and changes nothing.</p>`}
          <${Broken} />
          ${known.value ? html`<${Screen} key=${title} route=${route.value} />` : html`<${Loading} />`}
        </main>
      </div>
    </div>
    <${Toasts} /><${Confirmation} /><${Palette} /><${Shortcuts} /><${Access} />`;
}

function leave() {
  logOut().catch((error) => tell(error.message, { bad: true }));
}

startRouter();
startKeys();
document.body.replaceChildren();
render(html`<${Console} />`, document.body);
follow();

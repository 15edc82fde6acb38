// @ts-check
/** The screens, and the navigation to them. */

import { me } from "../api.js";
import { html } from "../html.js";
import { mesh } from "../live.js";
import { href, route } from "../router.js";
import { visible } from "../format.js";
import { Code } from "../screens/code.js";
import { Doctor } from "../screens/doctor.js";
import { Executions } from "../screens/executions.js";
import { Failures } from "../screens/failures.js";
import { Functions } from "../screens/functions.js";
import { Instances } from "../screens/instances.js";
import { Invocations } from "../screens/invocations.js";
import { MapScreen } from "../screens/map.js";
import { Queues } from "../screens/queues.js";
import { Timers } from "../screens/timers.js";
import { Empty, Head } from "../ui/parts.js";

/** `key` is its shortcut after `g`, `icon` the path of its drawing. */
export const SCREENS = [
  { path: "", key: "m", title: "Map", screen: MapScreen, icon: "M4 10h4m0 0 5-5h3M8 10l5 5h3" },
  { path: "functions", key: "f", title: "Functions", screen: Functions, icon: "M12 4h-1a3 3 0 0 0-3 3v9M5 10h6" },
  { path: "invocations", key: "i", title: "Invocations", screen: Invocations, icon: "M4 5h6M7 10h7M10 15h6" },
  { path: "failures", key: "d", title: "Failures", screen: Failures, icon: "M10 4v7m0 4v.5" },
  { path: "timers", key: "t", title: "Timers", screen: Timers, icon: "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm0 3.5V10l2.5 2" },
  { path: "executions", key: "e", title: "Executions", screen: Executions, icon: "M4 6h4v4h4v4h4" },
  { path: "queues", key: "q", title: "Queues", screen: Queues, icon: "M4 5h12M4 10h12M4 15h8" },
  { path: "instances", key: "n", title: "Instances", screen: Instances, icon: "M4 4h12v5H4zM4 11h12v5H4z" },
  { path: "doctor", key: "h", title: "Doctor", screen: Doctor, icon: "M3 10h4l2-5 3 10 2-5h3" },
  { path: "code", key: "c", title: "Code", screen: Code, icon: "M7 5l-4 5 4 5m6-10 4 5-4 5", dev: true },
];

/** The screens that there are here: some only in `eventmesh dev`. */
export function screensHere() {
  return SCREENS.filter((it) => !it.dev || me.value?.mode === "dev");
}

/** @param {string | undefined} path */
export function screenOf(path) {
  return SCREENS.find((screen) => screen.path === (path ?? "")) ?? { title: "Not found", screen: Missing };
}

function Missing() {
  return html`<${Head} title="Not found" /><${Empty} title="There is no such page"><p><a href=${href([])}>Go to the map</a>, or search with <kbd>/</kbd>.</p><//>`;
}

export function Nav() {
  const failed = [...mesh.failures.value.values()].reduce((sum, it) => sum + it.count, 0);
  const here = route.value.path[0] ?? "";
  return html`<aside class="side" aria-label="eventmesh">
    <a class="brand" href=${href([])}>
      <svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.8" aria-hidden="true">
        <circle cx="4" cy="10" r="2.5" /><circle cx="15.5" cy="4.5" r="2.5" /><circle cx="15.5" cy="15.5" r="2.5" />
        <path d="M6.3 9 13.2 5.6M6.3 11l6.9 3.4" /></svg>
      eventmesh</a>
    <nav aria-label="Screens"><ul class="nav">
      ${screensHere().map((it) => html`<li key=${it.path}>
        <a href=${href(it.path ? [it.path] : [])} aria-current=${here === it.path ? "page" : undefined}>
          <svg width="18" height="18" viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6"
            stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${it.icon} /></svg>
          ${it.title}${it.path === "failures" && failed > 0 && html`<span class="count">${failed}<span class="hidden-text"> dead letters</span></span>`}
          ${it.path === "code" && mesh.code.value.has("problem") && html`<span class="count">!<span class="hidden-text"> it does not run</span></span>`}
        </a></li>`)}
    </ul></nav>
    ${me.value && html`<footer class="data">${visible(me.value.principal)} · ${visible(me.value.broker.replace(/\/\/.*@/, "//"))}</footer>`}
  </aside>`;
}

// @ts-check
/** The runs of one cause chain, as bars over time. */

import { duration, visible } from "../format.js";
import { html } from "../html.js";
import { href } from "../router.js";

/** @param {{ runs: any[], here: string }} props */
export function Waterfall({ runs, here }) {
  const placed = runs.map((run) => ({ run, from: run.started ?? run.since ?? 0 })).sort((one, two) => one.from - two.from);
  const begins = Math.min(...placed.map(({ from }) => from));
  const now = Date.now() / 1000;
  const ends = Math.max(...placed.map(({ run, from }) => from + (run.duration ?? Math.max(0, now - from))), begins + 0.001);
  const whole = ends - begins;
  return html`<div class="fall">${placed.map(({ run, from }) => {
    const lasted = run.duration ?? Math.max(0, now - from);
    const going = run.duration === undefined || run.duration === null;
    const tone = going ? "" : run.outcome === "success" ? "good" : "bad";
    const style = { left: `${((from - begins) / whole) * 100}%`, width: `${(lasted / whole) * 100}%` };
    return html`<a key=${`${run.id} ${run.function} ${run.attempt} ${from}`} href=${href(["invocations", run.id])}
      aria-current=${run.id === here ? "true" : undefined}>
      <span><bdi class="data">${visible(run.function)}</bdi>
        <span class="muted small"> ${visible(run.trigger ?? "")}${run.attempt > 1 ? ` · attempt ${run.attempt}` : ""}</span></span>
      <span class="lane" aria-hidden="true"><i class=${tone} style=${style}></i></span>
      <span class="num small">${going ? "running" : duration(run.duration)}</span>
    </a>`;
  })}</div>`;
}

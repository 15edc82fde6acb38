// @ts-check
/** A chart over time, drawn by uPlot. */

import { html, useEffect, useId, useRef } from "../html.js";

/**
 * @param {{ title: string, at: number[], lines: { name: string, colour: string, values: (number | null)[] }[],
 *   say: (value: number) => string }} props  `colour` is the name of a custom property of the style sheet
 */
export function Chart({ title, at, lines, say }) {
  /** @type {{ current: HTMLDivElement | null }} */
  const frame = useRef(null);
  /** @type {{ current: any }} */
  const chart = useRef(null);
  const id = useId();
  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const style = getComputedStyle(element);
    const grid = { stroke: style.getPropertyValue("--chart-grid") || "#8883", width: 1 };
    const axis = { stroke: "#85898f", font: "11px system-ui", grid, ticks: { show: false } };
    chart.current = new /** @type {any} */ (globalThis).uPlot({
      width: Math.max(200, element.clientWidth), height: 150, legend: { show: false }, cursor: { y: false },
      padding: [8, 8, 0, 0],
      scales: { y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ top) => [0, top > 0 ? top * 1.15 : 1] } },
      axes: [
        { ...axis, space: 70, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString("en-GB")) },
        { ...axis, size: 58, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map(say) },
      ],
      series: [{}, ...lines.map(({ name, colour }) => ({
        label: name, stroke: () => resolve(element, colour), width: 1.6, points: { show: false }, spanGaps: true,
      }))],
    }, [at, ...lines.map(({ values }) => values)], element);
    const sizes = new ResizeObserver(() => chart.current?.setSize({ width: Math.max(200, element.clientWidth), height: 150 }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      chart.current?.destroy();
    };
  }, []);
  useEffect(() => chart.current?.setData([at, ...lines.map(({ values }) => values)]), [at[at.length - 1], at.length]);
  const newest = lines.map(({ name, values }) => {
    const value = values[values.length - 1];
    return `${name} ${value === null || value === undefined ? "none" : say(value)}`;
  });
  return html`<figure class="chart" aria-labelledby=${id}>
    <h3 id=${id}>${title} ${lines.map(({ name, colour }) => html`<span key=${name} class="key" style=${{ "--key": `var(${colour})` }}>${name}</span>`)}</h3>
    <div ref=${frame} aria-hidden="true"></div>
    <figcaption class="hidden-text">Now: ${newest.join(", ")}</figcaption>
  </figure>`;
}

/** The colour that a custom property has in the theme of now. @param {HTMLElement} element @param {string} name */
function resolve(element, name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

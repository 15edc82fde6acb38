// @ts-check
/** The map as a drawing that can be moved and zoomed. */

import { visible } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { href } from "../router.js";

/** @typedef {{ x: number, y: number, scale: number }} View */

/** The smallest scale at which texts can be read. */
const LEGIBLE = 0.62;
const TIMER = "M7 2a5 5 0 1 0 .01 0M7 4v3l2 2";
const GLYPHS = {
  http: "M2 7h10M8 3l4 4-4 4", queue: "M2 3h10M2 7h10M2 11h10", event: "M8 1 3 8h4l-1 5 5-7H7z",
  every: TIMER, cron: TIMER, at: TIMER, function: "M9 2H8a2 2 0 0 0-2 2v8M3 6h6", service: "M2 2h10v10H2zM2 7h10",
};

/**
 * @param {{ graph: import("./graph.js").MapGraph, layout: import("./layout.js").Layout, onFold: (service: string) => void,
 *   children?: unknown }} props
 */
export function MapView({ graph, layout, onFold, children }) {
  /** @type {{ current: HTMLDivElement | null }} */
  const frame = useRef(null);
  const [view, setView] = useState(/** @type {View} */ ({ x: 0, y: 0, scale: 1 }));
  const [under, setNear] = useState(/** @type {string | null} */ (null));
  // The node under the pointer may be gone, without the pointer having left it.
  const near = under !== null && graph.nodes.has(under) ? under : null;
  const fit = (all = true) => {
    const box = frame.current?.getBoundingClientRect();
    if (!box || !layout.width) return;
    const whole = Math.min(1.15, box.width / layout.width, box.height / layout.height);
    const scale = all ? whole : Math.max(LEGIBLE, whole);
    const [x, y] = [(box.width - layout.width * scale) / 2, (box.height - layout.height * scale) / 2];
    // What does not fit begins where people begin to read.
    setView({ scale, x: scale > whole ? Math.max(0, x) : x, y: scale > whole ? Math.max(0, y) : y });
  };
  useEffect(() => fit(false), [layout]);
  /** @param {number} factor @param {number} [x] @param {number} [y] */
  const zoom = (factor, x, y) => setView((/** @type {View} */ old) => {
    const box = frame.current?.getBoundingClientRect();
    const [atX, atY] = [x ?? (box?.width ?? 0) / 2, y ?? (box?.height ?? 0) / 2];
    const scale = Math.min(3, Math.max(0.05, old.scale * factor));
    const ratio = scale / old.scale;
    return { scale, x: atX - (atX - old.x) * ratio, y: atY - (atY - old.y) * ratio };
  });
  usePointer(frame, setView, zoom);
  const neighbours = useMemo(() => {
    if (near === null) return null;
    const found = new Set([near]);
    for (const edge of graph.edges.values()) {
      if (edge.from === near) found.add(edge.to);
      if (edge.to === near) found.add(edge.from);
    }
    return found;
  }, [near, graph]);
  return html`<div class="map" ref=${frame}>
    <div class="tools">
      <button aria-label="Zoom in" onClick=${() => zoom(1.3)}>+</button>
      <button aria-label="Zoom out" onClick=${() => zoom(1 / 1.3)}>−</button>
      <button onClick=${() => fit()}>Fit</button>
      ${children}
    </div>
    <svg role="group" aria-label="Map of the mesh">
      <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"
        markerUnits="userSpaceOnUse"><path d="M1 1 7 4 1 7z" /></marker></defs>
      <g transform=${`translate(${view.x} ${view.y}) scale(${view.scale})`}>
        ${[...layout.boxes].filter(([name]) => graph.clusters.includes(name)).map(([name, box]) => html`<g key=${`c:${name}`} class="cluster">
          <rect x=${box.x} y=${box.y - 16} width=${box.width} height=${box.height + 16} rx="10" />
          <text x=${box.x + 10} y=${box.y} role="button" tabindex="0" aria-label=${`Fold ${visible(name)}`}
            onClick=${() => onFold(name)} onKeyDown=${onEnter(() => onFold(name))}>▾ ${short(name, 30)}</text>
        </g>`)}
        ${[...graph.edges].map(([key, edge]) => html`<${Edge} key=${key} edge=${edge} graph=${graph} layout=${layout}
          faded=${near !== null && edge.from !== near && edge.to !== near} />`)}
        ${[...graph.nodes.values()].map((node) => html`<${Node} key=${node.id} node=${node} at=${layout.places.get(node.id)} onFold=${onFold}
          faded=${neighbours !== null && !neighbours.has(node.id)} onNear=${setNear} />`)}
      </g>
    </svg>
    <div class="legend" aria-hidden="true"><span>The bar is how many slots are taken.</span><span>Red: runs are failing.</span></div>
  </div>`;
}

/** @param {() => void} act */
function onEnter(act) {
  return (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act();
  };
}

/** @param {string} text @param {number} most */
function short(text, most) {
  const seen = visible(text);
  return seen.length > most ? `${seen.slice(0, most - 1)}…` : seen;
}

/** @param {{ node: import("./graph.js").MapNode, at: any, faded: boolean, onFold: (service: string) => void,
 *   onNear: (id: string | null) => void }} props */
function Node({ node, at, faded, onFold, onNear }) {
  if (!at) return null;
  const { width, height } = node;
  const small = node.kind === "source" || node.kind === "target";
  const glyph = Object.hasOwn(GLYPHS, node.glyph) ? GLYPHS[/** @type {keyof typeof GLYPHS} */ (node.glyph)] : GLYPHS.queue;
  const inner = html`
    <title>${visible(node.name)}</title>
    <rect class="box" width=${width} height=${height} rx=${small ? height / 2 : 8} />
    <path class="glyph" d=${glyph} transform=${`translate(12 ${small ? height / 2 - 7 : 9})`} />
    <text x="34" y=${small ? height / 2 + 4.5 : 20}>${short(node.label, small ? 20 : 24)}</text>
    ${!small && html`<text class=${`sub ${node.failing ? "bad" : ""}`} x="34" y="36">${short(node.sub, 29)}</text>`}
    ${node.more && html`<text class="sub" x="34" y="52">${short(node.more, 31)}</text>`}
    ${node.saturation !== null && html`<rect class="track" x="8" y=${height - 5} width=${width - 16} height="2" />
      <rect class=${`fill ${node.saturation >= 0.9 ? "full" : ""}`} x="8" y=${height - 5} width=${(width - 16) * node.saturation} height="2" />`}`;
  const shared = {
    class: `node ${small ? "source" : node.kind} ${node.failing ? "failing" : ""} ${faded ? "faded" : ""}`,
    transform: `translate(${at.x} ${at.y})`,
    onPointerEnter: () => onNear(node.id), onPointerLeave: () => onNear(null),
  };
  if (node.kind === "function") {
    return html`<a ...${shared} href=${href(["functions", node.name])} aria-label=${`${visible(node.name)}: ${node.sub}`}>${inner}</a>`;
  }
  if (node.kind === "service") {
    return html`<g ...${shared} role="button" tabindex="0" aria-label=${`Unfold ${visible(node.name)}: ${node.sub}`}
      onClick=${() => onFold(node.name)} onKeyDown=${onEnter(() => onFold(node.name))}>${inner}</g>`;
  }
  return html`<g ...${shared} role="img" aria-label=${visible(node.name)}>${inner}</g>`;
}

/** @param {{ edge: import("./graph.js").MapEdge, graph: import("./graph.js").MapGraph, layout: import("./layout.js").Layout, faded: boolean }} props */
function Edge({ edge, graph, layout, faded }) {
  const [from, to] = [layout.places.get(edge.from), layout.places.get(edge.to)];
  const [start, end] = [graph.nodes.get(edge.from), graph.nodes.get(edge.to)];
  if (!from || !to || !start || !end) return null;
  const [x1, y1] = [from.x + start.width, from.y + start.height / 2];
  const [x2, y2] = [to.x, to.y + end.height / 2];
  const bend = Math.max(30, Math.abs(x2 - x1) / 2);
  const width = edge.weight > 0 ? Math.min(5, 1.3 + Math.log10(1 + edge.weight)) : 1.1;
  return html`<g class=${`edge ${edge.busy ? "busy" : ""} ${edge.bad ? "bad" : ""} ${faded ? "faded" : ""}`}>
    <path d=${`M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`} stroke-width=${width} marker-end="url(#tip)" />
    ${edge.label && html`<text x=${(x1 + x2) / 2} y=${(y1 + y2) / 2 - 4} text-anchor="middle">${edge.label}</text>`}
  </g>`;
}

/**
 * Drag to move, wheel to zoom, two fingers for both.
 * @param {{ current: HTMLDivElement | null }} frame @param {(change: any) => void} setView
 * @param {(factor: number, x?: number, y?: number) => void} zoom
 */
function usePointer(frame, setView, zoom) {
  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    /** @type {Map<number, { x: number, y: number }>} */
    const down = new Map();
    let moved = 0;
    const spread = () => {
      const [one, two] = [...down.values()];
      return Math.hypot(one.x - two.x, one.y - two.y);
    };
    const over = new AbortController();
    const options = { signal: over.signal };
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = element.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 500), event.clientX - box.left, event.clientY - box.top);
    }, { ...options, passive: false });
    element.addEventListener("pointerdown", (event) => {
      if (down.size === 0) moved = 0;
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    }, options);
    addEventListener("pointermove", (event) => {
      const last = down.get(event.pointerId);
      if (!last) return;
      const before = down.size === 2 ? spread() : 0;
      const [dx, dy] = [event.clientX - last.x, event.clientY - last.y];
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      moved += Math.abs(dx) + Math.abs(dy);
      if (down.size === 2 && before > 0) zoom(spread() / before);
      else setView((/** @type {View} */ old) => ({ ...old, x: old.x + dx, y: old.y + dy }));
    }, options);
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, (event) => down.delete(/** @type {PointerEvent} */ (event).pointerId), options);
    }
    // A drag that ends on a node is no click on it.
    element.addEventListener("click", (event) => {
      if (moved > 6) { event.preventDefault(); event.stopPropagation(); }
    }, { ...options, capture: true });
    element.addEventListener("dragstart", (event) => event.preventDefault(), options);
    return () => over.abort();
  }, []);
}

// @ts-check
/** Asks the worker for the places of a graph's nodes, and keeps them while its shape stays. */

import { useEffect, useRef, useState } from "../html.js";
import { shapeOf } from "./graph.js";

/**
 * @typedef {{ x: number, y: number }} Place
 * @typedef {{ width: number, height: number, places: Map<string, Place>,
 *   boxes: Map<string, Place & { width: number, height: number }> }} Layout
 */

/** @param {import("./graph.js").MapGraph} graph @returns {Layout | null} */
export function useLayout(graph) {
  const [layout, setLayout] = useState(/** @type {Layout | null} */ (null));
  /** @type {{ current: Worker | null }} */
  const worker = useRef(null);
  const turn = useRef(0);
  useEffect(() => {
    const started = new Worker(new URL("./layout-worker.js", import.meta.url), { type: "module" });
    started.onmessage = ({ data }) => {
      if (data.turn !== turn.current) return;
      setLayout({ width: data.width, height: data.height, places: new Map(data.places), boxes: new Map(data.boxes) });
    };
    worker.current = started;
    return () => started.terminate();
  }, []);
  const shape = shapeOf(graph);
  useEffect(() => {
    turn.current += 1;
    const nodes = [...graph.nodes.values()].map(({ id, width, height, parent }) => ({ id, width, height, parent }));
    const edges = [...graph.edges.values()].map((it) => [it.from, it.to, it.label ? 60 : 12]);
    worker.current?.postMessage({ turn: turn.current, nodes, edges, clusters: graph.clusters });
  }, [shape]);
  return layout;
}

// @ts-check
/** Places nodes in layers from left to right, beside the page: hundreds of them take a second. */

import library from "../../vendor/dagre.js";

const dagre = /** @type {any} */ (library);

self.onmessage = ({ data }) => {
  const { turn, nodes, edges, clusters } = data;
  try {
    self.postMessage({ turn, ...place(nodes, edges, clusters) });
  } catch {
    // Clusters are what the library may fail at: without them there is a map all the same.
    self.postMessage({ turn, ...place(nodes.map((/** @type {any} */ it) => ({ ...it, parent: null })), edges, []) });
  }
};

/** What no arrow leads to or from, in rows below the rest. @param {any[]} nodes @param {number} width @param {number} top */
function arrange(nodes, width, top) {
  if (!nodes.length) return { places: [], width, height: top };
  const [stepX, stepY] = [Math.max(...nodes.map((it) => it.width)) + 24, Math.max(...nodes.map((it) => it.height)) + 20];
  const columns = Math.max(1, Math.floor(width / stepX), Math.ceil(Math.sqrt((nodes.length * stepY * 1.7) / stepX)));
  const places = nodes.map((it, index) => [it.id, { x: 24 + (index % columns) * stepX, y: top + 24 + Math.floor(index / columns) * stepY }]);
  return { places, width: 24 + columns * stepX, height: top + 24 + Math.ceil(nodes.length / columns) * stepY };
}

/** @param {any[]} nodes @param {[string, string, number][]} edges @param {string[]} clusters */
function place(nodes, edges, clusters) {
  const graph = new dagre.graphlib.Graph({ compound: clusters.length > 0 });
  graph.setGraph({ rankdir: "LR", nodesep: 24, ranksep: 76, edgesep: 8, marginx: 24, marginy: 24, ranker: "tight-tree" });
  graph.setDefaultEdgeLabel(() => ({}));
  // Names are others' texts, and the library keeps them as members of objects: numbers are safe.
  const numbers = new Map(nodes.map((it, index) => [it.id, `n${index}`]));
  const boxes = new Map(clusters.map((name, index) => [name, `c${index}`]));
  for (const box of boxes.values()) graph.setNode(box, {});
  const linked = new Set(edges.flatMap(([from, to]) => [from, to]));
  const alone = nodes.filter((it) => !linked.has(it.id) && !boxes.has(it.parent));
  const together = nodes.filter((it) => linked.has(it.id) || boxes.has(it.parent));
  for (const it of together) {
    graph.setNode(numbers.get(it.id), { width: it.width, height: it.height });
    if (boxes.has(it.parent)) graph.setParent(numbers.get(it.id), boxes.get(it.parent));
  }
  for (const [from, to, labelled] of edges) graph.setEdge(numbers.get(from), numbers.get(to), { width: labelled, height: 12, labelpos: "c" });
  dagre.layout(graph);
  const main = together.length ? graph.graph() : { width: 0, height: 0 };
  const grid = arrange(alone, main.width, main.height);
  return {
    width: Math.max(main.width, grid.width), height: grid.height,
    places: [...grid.places, ...together.map((it) => {
      const { x, y } = graph.node(numbers.get(it.id));
      return [it.id, { x: x - it.width / 2, y: y - it.height / 2 }];
    })],
    boxes: clusters.map((name) => {
      const it = graph.node(boxes.get(name));
      return [name, { x: it.x - it.width / 2, y: it.y - it.height / 2, width: it.width, height: it.height }];
    }),
  };
}

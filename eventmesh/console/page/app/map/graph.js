// @ts-check
/** What the map draws, from the state of the mesh: nodes and arrows, where services are folded or not. */

/**
 * @typedef {{ id: string, kind: "source" | "function" | "service" | "target", label: string, sub: string, more?: string, glyph: string,
 *   width: number, height: number, parent: string | null, failing: boolean, saturation: number | null,
 *   name: string }} MapNode
 * @typedef {{ from: string, to: string, label: string, kind: string, busy: boolean, bad: boolean, weight: number }} MapEdge
 * @typedef {{ nodes: Map<string, MapNode>, edges: Map<string, MapEdge>, clusters: string[] }} MapGraph
 */

import { percent, rate, duration, visible } from "../format.js";

const SOURCE = { width: 168, height: 30 };
const FUNCTION = { width: 204, height: 48 };
const SERVICE = { width: 216, height: 66 };
const NAMES = { http: "routes", queue: "queues", event: "events", every: "timers", cron: "timers", at: "timers" };

const TIMERS = new Set(["every", "cron", "at"]);

/** More functions than that are folded unless somebody unfolds them. */
export const FOLDED_FROM = 40;

/** More functions than that cannot be unfolded all at once: nobody could read the map. */
export const UNFOLDED_TO = 150;

/**
 * @param {Map<string, any>} functions
 * @param {Map<string, any>} observed  the arrows that were seen
 * @param {(service: string) => boolean} isFolded
 * @returns {MapGraph}
 */
export function buildGraph(functions, observed, isFolded) {
  /** @type {MapGraph} */
  const graph = { nodes: new Map(), edges: new Map(), clusters: [] };
  const services = group(functions.values(), (it) => it.service);
  for (const [service, members] of services) {
    if (isFolded(service)) addService(graph, service, members);
    else {
      graph.clusters.push(service);
      for (const it of members) addFunction(graph, it);
    }
  }
  /** @param {string} name */
  const place = (name) => {
    const it = functions.get(name);
    if (!it) return null;
    return isFolded(it.service) ? `s:${it.service}` : `f:${name}`;
  };
  for (const it of functions.values()) {
    for (const [outcome, destination] of [["on success", it.on_success], ["on failure", it.on_failure]]) {
      const from = place(it.name);
      if (destination && from) connect(graph, from, place(destination) ?? addTarget(graph, destination), outcome, null, false);
    }
  }
  for (const it of observed.values()) {
    const from = place(it.from);
    const to = place(it.to);
    if (from && to && from !== to) connect(graph, from, to, it.kind, it.rate, (functions.get(it.to)?.errors ?? 0) > 0);
  }
  return graph;
}

/** @template T @param {Iterable<T>} items @param {(item: T) => string} key */
function group(items, key) {
  /** @type {Map<string, T[]>} */
  const groups = new Map();
  for (const item of items) {
    const found = groups.get(key(item));
    if (found) found.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}

/** @param {any} it */
function figures(it) {
  const parts = [it.rate > 0 ? rate(it.rate) : null, it.p95 ? `p95 ${duration(it.p95)}` : null];
  if (it.errors > 0) parts.push(`${it.rate > 0 ? percent(Math.min(1, it.errors / it.rate)) : rate(it.errors)} failing`);
  if (it.waiting > 0) parts.push(`${it.waiting} waiting`);
  return parts.filter(Boolean).join(" · ") || (it.instances?.length ? "idle" : "not running");
}

/** The share of the slots that are taken, where there is a limit. @param {any} it */
function saturation(it) {
  const each = it.limits?.concurrency;
  const all = it.limits?.reserved_concurrency ?? (each ? each * Math.max(1, it.instances?.length ?? 1) : null);
  return all ? Math.min(1, (it.running ?? 0) / all) : null;
}

/** @param {MapGraph} graph @param {any} it */
function addFunction(graph, it) {
  const id = `f:${it.name}`;
  graph.nodes.set(id, {
    ...FUNCTION, id, kind: "function", label: it.name.slice(it.service.length + 1), sub: figures(it), glyph: "function",
    parent: it.service, failing: it.errors > 0, saturation: saturation(it), name: it.name,
  });
  for (const trigger of it.triggers ?? []) {
    // Each timer is its function's own; routes, queues and events are what they are for all.
    const own = TIMERS.has(trigger.kind) ? it.name : "";
    const source = JSON.stringify(["t", trigger.kind, trigger.description, own]);
    if (!graph.nodes.has(source)) {
      const label = trigger.description.replace(/^(event|queue) /, "");
      graph.nodes.set(source, {
        ...SOURCE, id: source, kind: "source", label, sub: "", glyph: trigger.kind, parent: null, failing: false,
        saturation: null, name: `${trigger.kind}: ${trigger.description}`,
      });
    }
    const only = it.triggers.length === 1;
    connect(graph, source, id, "", only ? it.rate : null, it.errors > 0);
  }
}

/** @param {MapGraph} graph @param {string} service @param {any[]} members */
function addService(graph, service, members) {
  const id = `s:${service}`;
  const sum = (/** @type {string} */ key) => members.reduce((all, it) => all + (it[key] ?? 0), 0);
  const total = { rate: sum("rate"), errors: sum("errors"), waiting: sum("waiting"), instances: members.flatMap((it) => it.instances ?? []) };
  const triggers = group(members.flatMap((it) => it.triggers ?? []), (it) =>
    Object.hasOwn(NAMES, it.kind) ? NAMES[/** @type {keyof typeof NAMES} */ (it.kind)] : it.kind);
  const fired = [...triggers].map(([what, found]) => `${found.length} ${found.length === 1 ? what.replace(/s$/, "") : what}`);
  const full = members.map(saturation).filter((it) => it !== null);
  graph.nodes.set(id, {
    ...SERVICE, id, kind: "service", label: service,
    sub: `${members.length} functions · ${figures(total)}`, more: fired.join(", "), glyph: "service",
    parent: null, failing: total.errors > 0, saturation: full.length ? Math.max(...full) : null, name: service,
  });
}

/** @param {MapGraph} graph @param {string} destination */
function addTarget(graph, destination) {
  const id = `d:${destination}`;
  graph.nodes.set(id, {
    ...SOURCE, id, kind: "target", label: destination, sub: "", glyph: "queue", parent: null, failing: false, saturation: null,
    name: destination,
  });
  return id;
}

/**
 * @param {MapGraph} graph @param {string} from @param {string} to @param {string} kind
 * @param {number | null} perSecond @param {boolean} bad
 */
function connect(graph, from, to, kind, perSecond, bad) {
  const key = JSON.stringify([from, to]);
  const old = graph.edges.get(key);
  const kinds = new Set([...(old?.kind.split(", ") ?? []), kind].filter(Boolean));
  const weight = (old?.weight ?? 0) + (perSecond ?? 0);
  const inside = graph.nodes.get(from)?.kind === "service" && graph.nodes.get(to)?.kind === "service";
  const words = inside ? "" : [...kinds].map(visible).join(", ");
  graph.edges.set(key, {
    from, to, kind: [...kinds].join(", "), weight, busy: weight > 0, bad: Boolean(old?.bad) || bad,
    label: [words, weight > 0 ? rate(weight) : ""].filter(Boolean).join(" "),
  });
}

/** What decides about places alone: while it stays, nothing moves. @param {MapGraph} graph */
export function shapeOf(graph) {
  return JSON.stringify([[...graph.nodes.values()].map((it) => [it.id, it.width, it.height, it.parent]), [...graph.edges.keys()]]);
}

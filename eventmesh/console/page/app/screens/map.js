// @ts-check
/** The live map of the mesh. */

import { html } from "../html.js";
import { mesh } from "../live.js";
import { buildGraph, FOLDED_FROM, UNFOLDED_TO } from "../map/graph.js";
import { useLayout } from "../map/layout.js";
import { MapView } from "../map/view.js";
import { setQuery } from "../router.js";
import { Empty, Head, Loading } from "../ui/parts.js";

/** @param {{ route: import("../router.js").Route }} props */
export function MapScreen({ route }) {
  const functions = mesh.functions.value;
  const services = [...new Set([...functions.values()].map((it) => it.service))];
  const all = route.query.get("fold") ?? (functions.size > FOLDED_FROM ? "all" : "none");
  const others = new Set(parse(route.query.get("except")));
  /** @param {string} service */
  const isFolded = (service) => (all === "all") !== others.has(service);
  const graph = buildGraph(functions, mesh.edges.value, isFolded);
  const layout = useLayout(graph);
  /** @param {string} service */
  const onFold = (service) => {
    if (!others.delete(service)) others.add(service);
    setQuery({ fold: all, except: others.size ? JSON.stringify([...others]) : undefined });
  };
  if (!functions.size) {
    return html`<${Head} title="Map" /><${Empty} title="No process announces functions yet">
      <p>Start a service with <code>eventmesh run app.py</code>. It appears here within a few seconds.</p><//>`;
  }
  const folded = services.every(isFolded);
  return html`
    <${Head} title="Map" about=${`What fires what: ${functions.size} functions of ${services.length} services.`} />
    ${layout
      ? html`<${MapView} graph=${graph} layout=${layout} onFold=${onFold}>
          ${(!folded || functions.size <= UNFOLDED_TO) && html`<button onClick=${() => setQuery({ fold: folded ? "none" : "all", except: undefined })}>${folded ? "Unfold all" : "Fold all"}</button>`}
        <//>`
      : html`<${Loading} />`}`;
}

/** @param {string | null} text @returns {string[]} */
function parse(text) {
  try {
    const found = JSON.parse(text ?? "[]");
    return Array.isArray(found) ? found.map(String) : [];
  } catch {
    return [];
  }
}

// @ts-check
/** Which screen the address names. Each state worth sharing is in the address. */

import { computed, signal } from "./html.js";

/** The path under which the console is: all addresses are made from it. */
export const BASE = "/_console/";

/** @typedef {{ path: string[], query: URLSearchParams }} Route */

const address = signal(location.pathname + location.search);

/** @type {{ readonly value: Route }} */
export const route = computed(() => {
  const url = new URL(address.value, location.origin);
  const rest = url.pathname.startsWith(BASE) ? url.pathname.slice(BASE.length) : "";
  return { path: rest.split("/").filter(Boolean).map(decode), query: url.searchParams };
});

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a screen. @param {string[]} path @param {Record<string, string | undefined>} [query] */
export function href(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  const search = new URLSearchParams(/** @type {[string, string][]} */ (given)).toString();
  return BASE + path.map(encodeURIComponent).join("/") + (search ? `?${search}` : "");
}

/** Go to a screen. @param {string} to  as `href` returns it */
export function go(to, { replace = false } = {}) {
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  address.value = to;
  if (!replace) {
    scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
}

/** Change some of the query, without an entry of its own in the history. @param {Record<string, string | undefined>} change */
export function setQuery(change) {
  const query = Object.fromEntries(route.value.query);
  go(href(route.value.path, { ...query, ...change }), { replace: true });
}

/** Follow links of the console without loading the page again. */
export function startRouter() {
  addEventListener("popstate", () => {
    address.value = location.pathname + location.search;
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const to = link?.getAttribute("href");
    if (!link || !to || !to.startsWith(BASE) || link.hasAttribute("download") || link.getAttribute("target")) return;
    event.preventDefault();
    go(to);
  });
}

// @ts-check
/** The state of the mesh, as the server streams it: a snapshot, then differences. */

import { me, open, ask, tokenWanted } from "./api.js";
import { batch, effect, signal } from "./html.js";

const NAMES = /** @type {const} */ (["instances", "functions", "edges", "runs", "ended", "queues", "timers", "failures",
  "code", "log"]);

/** @typedef {typeof NAMES[number]} Collection */

/** Each collection, by key. Keys are others' texts: a Map takes any, an object would not.
 * @type {Record<Collection, { value: Map<string, any> }>} */
export const mesh = /** @type {any} */ (Object.fromEntries(NAMES.map((name) => [name, signal(new Map())])));

/** @type {{ value: "opening" | "live" | "lost" }} */
export const connection = signal("opening");

/** Whether a snapshot has come. */
export const known = signal(false);

const KEPT = 300;
const MANY = 100;

/** @typedef {{ at: number, rate: number, errors: number, running: number, throttled: number,
 *   p50: number | null, p95: number | null, p99: number | null }} Sample */

/** What was seen of functions since this page is open, for charts. @type {Map<string, Sample[]>} */
const samples = new Map();
/** Counts the samples that were taken. */
export const sampled = signal(0);

/** The samples of a function; from now on they are kept. @param {string} name */
export function samplesOf(name) {
  if (!samples.has(name)) samples.set(name, []);
  return samples.get(name) ?? [];
}

/** Take the events of the server until the page is closed. */
export async function follow() {
  let pause = 1;
  for (;;) {
    if (tokenWanted.value) await until(() => !tokenWanted.value);
    await shown();
    try {
      me.value = await ask("me");
      const hidden = new AbortController();
      const stop = () => document.hidden && hidden.abort();
      const timer = setInterval(stop, 30_000);
      // A page that the browser keeps for its back button would keep its connection, and it has few.
      const leave = () => hidden.abort();
      addEventListener("pagehide", leave, { once: true });
      try {
        const response = await open("events", undefined, hidden.signal);
        pause = 1;
        await read(response);
      } finally {
        clearInterval(timer);
        removeEventListener("pagehide", leave);
      }
    } catch (error) {
      if (!(error instanceof Error)) throw error;
    }
    connection.value = document.hidden ? "opening" : "lost";
    await new Promise((resolve) => {
      setTimeout(resolve, pause * 1000);
      addEventListener("online", resolve, { once: true });
    });
    pause = Math.min(pause * 1.6, 10);
  }
}

/** @param {() => boolean} ready @returns {Promise<void>} */
function until(ready) {
  return new Promise((resolve) => {
    const stop = effect(() => {
      if (ready()) queueMicrotask(() => { stop(); resolve(); });
    });
  });
}

/** @returns {Promise<void>} */
function shown() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", () => resolve(), { once: true }));
}

const MAX_EVENT = 64 * 1024 * 1024;

/** @param {Response} response */
async function read(response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  let rest = "";
  for (;;) {
    const { value, done } = await quickly(reader);
    if (done) return;
    rest += value;
    const events = rest.split(/\r?\n\r?\n/);
    rest = events.pop() ?? "";
    if (rest.length > MAX_EVENT) return;
    for (const event of events) take(event);
  }
}

/** Read on, unless nothing comes for so long that the connection must be dead. @param {ReadableStreamDefaultReader<string>} reader */
function quickly(reader) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reader.cancel().catch(() => {});
      reject(new Error("silent"));
    }, 20_000);
  });
  return Promise.race([reader.read(), late]).finally(() => clearTimeout(timer));
}

/** @param {string} event */
function take(event) {
  let name = "message";
  let data = "";
  for (const line of event.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5);
  }
  if (!data) return;
  const state = JSON.parse(data);
  batch(() => {
    for (const each of NAMES) apply(each, state[each], name === "snapshot");
    connection.value = "live";
    known.value = true;
    sample(state.now);
  });
}

/** @param {Collection} name @param {Record<string, any> | undefined} change @param {boolean} whole */
function apply(name, change, whole) {
  if (!change && !whole) return;
  const next = whole ? new Map() : new Map(mesh[name].value);
  for (const [key, value] of Object.entries(change ?? {})) {
    if (value === null) next.delete(key);
    else next.set(key, value);
  }
  mesh[name].value = next;
}

/** @param {number} now */
function sample(now) {
  const functions = mesh.functions.value;
  const wanted = functions.size <= MANY ? functions.keys() : samples.keys();
  for (const name of wanted) {
    const it = functions.get(name);
    if (!it) continue;
    const taken = samplesOf(name);
    if (taken.length && now - taken[taken.length - 1].at < 0.9) continue;
    taken.push({
      at: now, rate: it.rate ?? 0, errors: it.errors ?? 0, running: it.running ?? 0, throttled: it.throttled ?? 0,
      p50: it.p50 ?? null, p95: it.p95 ?? null, p99: it.p99 ?? null,
    });
    if (taken.length > KEPT) taken.shift();
  }
  sampled.value += 1;
}

// @ts-check
/** Requests to the console's API. */

import { signal } from "./html.js";

const API = "/_console/api/";
const TOKEN = "eventmesh.console.token";

/** Whether the server asks for a token, and why. @type {{ value: string }} */
export const tokenWanted = signal("");

/** Where people log in, and whether tokens are taken too; null where the server has not offered it.
 * @type {{ value: null | { at: string, tokens: boolean } }} */
export const login = signal(null);

/** Who is asked for, and what they may do; null until the server has said.
 * @type {{ value: null | { principal: string, scopes: string[], session: boolean, read_only: boolean, mode: string, broker: string,
 *   version: string, payloads: boolean } }} */
export const me = signal(null);

/** An answer that is no success: its status, and what the server says of it. */
export class ApiError extends Error {
  /** @param {number} status @param {any} problem */
  constructor(status, problem) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

/** @param {string} token */
export function useToken(token) {
  sessionStorage.setItem(TOKEN, token.trim());
  tokenWanted.value = "";
}

/** Leave this page to log in, and come back to this screen. */
export function logIn() {
  if (!login.value) return;
  sessionStorage.removeItem(TOKEN); // It would count, and not the session.
  location.assign(`${login.value.at}?${new URLSearchParams({ to: location.pathname + location.search })}`);
}

/** End the session, and show nothing any more. */
export async function logOut() {
  await ask("logout", {});
  location.reload();
}

/** @returns {Record<string, string>} */
function credentials() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Whether actions that need a scope are offered. @param {string} scope */
export function may(scope) {
  return Boolean(me.value && !me.value.read_only && me.value.scopes.includes(scope));
}

/** A path of the API. @param {string[]} parts @param {Record<string, string | undefined>} [query] */
export function path(parts, query = {}) {
  const given = /** @type {[string, string][]} */ (Object.entries(query).filter(([, value]) => value));
  const search = new URLSearchParams(given).toString();
  return parts.map(encodeURIComponent).join("/") + (search ? `?${search}` : "");
}

/**
 * Ask the API; the answer's JSON. Raises ApiError, also where there is no connection.
 * @param {string} at  as `path` returns it
 * @param {unknown} [body]  what to post; a GET without
 * @param {AbortSignal} [signal]
 * @param {number} [wait]  seconds to wait for the answer to begin
 * @returns {Promise<any>}
 */
export async function ask(at, body, signal, wait = WAIT) {
  const response = await open(at, body, signal, wait);
  return response.json();
}

const WAIT = 15;

/** @param {string} at @param {unknown} [body] @param {AbortSignal} [signal] @param {number} [wait] */
export async function open(at, body, signal, wait = WAIT) {
  const aborter = new AbortController();
  const give = () => aborter.abort();
  const timer = setTimeout(give, wait * 1000);
  signal?.addEventListener("abort", give, { once: true });
  const posted = body === undefined ? {} : {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "X-Eventmesh-Console": "1", ...credentials() },
  };
  /** @type {Response} */
  let response;
  try {
    response = await fetch(API + at, { headers: credentials(), cache: "no-store", signal: aborter.signal, ...posted });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, { detail: "The console's server cannot be reached. Is its process still running?" });
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const failure = new ApiError(response.status, problem);
  if (problem.login) login.value = problem.login;
  if (response.status === 401) tokenWanted.value = failure.message;
  throw failure;
}

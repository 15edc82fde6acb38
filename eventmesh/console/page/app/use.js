// @ts-check
/** What a screen asks the API for while it is shown. */

import { ask } from "./api.js";
import { connection } from "./live.js";
import { useEffect, useState } from "./html.js";

/**
 * Ask for a path now, when it changes, every so many seconds, and after the connection has come back.
 * @param {string | null} at  null asks for nothing
 * @param {number} [every]  seconds
 * @param {number} [wait]  seconds to wait for an answer
 * @returns {{ data: any, error: any, again: () => void }}
 */
export function useAnswer(at, every = 0, wait = undefined) {
  const [state, setState] = useState(/** @type {any} */ ({ at: null, data: null, error: null }));
  const [turn, setTurn] = useState(0);
  const live = connection.value === "live";
  useEffect(() => {
    if (at === null) return undefined;
    const aborter = new AbortController();
    ask(at, undefined, aborter.signal, wait).then(
      (data) => setState({ at, data, error: null }),
      (error) => {
        if (!aborter.signal.aborted) setState((/** @type {any} */ old) => ({ at, data: old.at === at ? old.data : null, error }));
      },
    );
    return () => aborter.abort();
  }, [at, turn, live]);
  useEffect(() => {
    if (!every) return undefined;
    const timer = setInterval(() => document.hidden || setTurn((/** @type {number} */ last) => last + 1), every * 1000);
    return () => clearInterval(timer);
  }, [every, at]);
  const fresh = state.at === at;
  return { data: fresh ? state.data : null, error: fresh ? state.error : null, again: () => setTurn(turn + 1) };
}

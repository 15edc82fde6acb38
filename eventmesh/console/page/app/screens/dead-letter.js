// @ts-check
/** One dead letter: all that is known of it, and an editor for what is sent instead. */

import { may, path } from "../api.js";
import { clock, count, pretty, visible } from "../format.js";
import { Fragment, html, useState } from "../html.js";
import { go, href } from "../router.js";
import { confirm } from "../ui/dialogs.js";
import { Card, Empty, Failed, Head, Json, Loading, Text, Time } from "../ui/parts.js";
import { JsonField } from "../ui/schema-form.js";
import { useAnswer } from "../use.js";
import { act } from "./failures.js";

/** @param {{ name: string, id: string }} props */
export function DeadLetterScreen({ name, id }) {
  const { data, error, again } = useAnswer(path(["failures", name], { limit: "500" }));
  const crumb = html`<a href=${href(["failures"])}>Failures</a> / <a href=${href(["failures", name])}><${Text} text=${name} /></a>`;
  const title = html`<${Text} text=${id} code />`;
  if (!data) return html`<${Head} title=${title} crumb=${crumb} />${error ? html`<${Failed} error=${error} again=${again} />` : html`<${Loading} />`}`;
  const letter = data.dead_letters.find((/** @type {any} */ it) => it.id === id);
  if (!letter) {
    return html`<${Head} title=${title} crumb=${crumb} /><${Empty} title="It is no dead letter any more">
      <p>Somebody has retried or discarded it: <a href=${href(["invocations", id])}>see the invocation</a>.</p><//>`;
  }
  return html`<${Letter} name=${name} letter=${letter} crumb=${crumb} title=${title} again=${again} />`;
}

/** @param {{ name: string, letter: any, crumb: unknown, title: unknown, again: () => void }} props */
function Letter({ name, letter, crumb, title, again }) {
  const [edited, setEdited] = useState(/** @type {any} */ (letter.payload));
  const [editing, setEditing] = useState(false);
  const isJson = letter.payload !== undefined;
  const back = href(["failures", name]);
  /** @param {string[]} at @param {unknown} body @param {(answer: any) => string} say */
  const run = async (at, body, say) => (await act(["failures", name, ...at], body, say, () => {})) ? go(back) : again();
  const discard = async () => {
    if (await confirm({ title: "Discard this dead letter?", about: "It is not run again.", action: "Discard", danger: true })) {
      run(["discard"], { ids: [letter.id] }, () => "Discarded.");
    }
  };
  return html`
    <${Head} title=${title} crumb=${crumb}>
      ${may("manage") && html`<${Fragment}>
        <button class="primary" onClick=${() => run(["retry"], { ids: [letter.id] }, () => "It will be run again.")}>Retry</button>
        ${isJson && html`<button aria-expanded=${editing} onClick=${() => setEditing(!editing)}>Edit and retry</button>`}
        <button class="danger" onClick=${discard}>Discard</button><//>`}
    <//>
    <p class="note bad data"><${Text} text=${[letter.error_type, letter.error_message].filter(Boolean).join(": ") || letter.reason} /></p>
    ${editing && html`<${Card} title="Edit and retry">
      <${JsonField} label="Payload" rows=${Math.min(24, pretty(letter.payload).split("\n").length + 1)} value=${letter.payload} onValue=${setEdited} />
      <div class="row"><button class="primary" disabled=${edited === undefined} onClick=${() =>
        run([letter.id, "retry"], { payload: edited }, (answer) => `The edited copy is sent as ${answer.id}.`)}>Send the edited copy</button>
        <span class="muted small">It gets an id of its own. This one is kept as resolved.</span></div><//>`}
    <div class="columns">
      <div class="stack">
        <${Card} title="Payload">${isJson ? html`<${Json} label="Payload" value=${letter.payload} />`
          : html`<p class="muted">No JSON; as base64:</p><${Json} label="Payload as base64" value=${letter.payload_base64 ?? ""} />`}<//>
        ${letter.traceback && html`<${Card} title="Traceback"><${Json} label="Traceback" value=${letter.traceback} /><//>`}
      </div>
      <div class="stack">
        <${Card} title="What is known"><dl class="facts">
          <dt>Function</dt><dd><a href=${href(["functions", name])}><${Text} text=${name} /></a></dd>
          <dt>Reason</dt><dd><${Text} text=${letter.reason} /></dd>
          <dt>Attempts</dt><dd>${count(letter.attempts)}</dd>
          <dt>Trigger</dt><dd>${visible(letter.trigger)}</dd>
          <dt>Stored first</dt><dd>${clock(letter.created)} (<${Time} at=${letter.created} />)</dd>
          <dt>First failure</dt><dd>${letter.first_failure ? clock(letter.first_failure) : "–"}</dd>
          <dt>Last failure</dt><dd>${letter.last_failure ? clock(letter.last_failure) : "–"}</dd>
          ${letter.correlation_id && html`<${Fragment}><dt>Correlation</dt><dd><a href=${href(["invocations"], { correlation_id: letter.correlation_id })}><${Text} text=${letter.correlation_id} code /></a></dd><//>`}
        </dl><//>
        ${Object.keys(letter.headers ?? {}).length > 0 && html`<${Card} title="Headers"><dl class="facts">
          ${Object.entries(letter.headers).map(([key, value]) => html`<${Fragment} key=${key}><dt><${Text} text=${key} /></dt><dd><${Text} text=${value} /></dd><//>`)}</dl><//>`}
      </div>
    </div>`;
}

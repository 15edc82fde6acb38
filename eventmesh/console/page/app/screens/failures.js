// @ts-check
/** Dead letters, grouped by what failed and where; what to do with them. */

import { ask, may, path } from "../api.js";
import { count, visible } from "../format.js";
import { html, useState } from "../html.js";
import { mesh } from "../live.js";
import { href } from "../router.js";
import { confirm, tell } from "../ui/dialogs.js";
import { Card, Empty, Failed, Head, Loading, Table, Text, Time } from "../ui/parts.js";
import { useAnswer } from "../use.js";
import { DeadLetterScreen } from "./dead-letter.js";

/** @param {{ route: import("../router.js").Route }} props */
export function Failures({ route }) {
  const [, name, id] = route.path;
  if (name !== undefined && id !== undefined) return html`<${DeadLetterScreen} key=${`${name} ${id}`} name=${name} id=${id} />`;
  if (name !== undefined) return html`<${Groups} key=${name} name=${name} chosen=${route.query.get("group") ?? ""} />`;
  return html`<${Overview} />`;
}

function Overview() {
  const { data, error, again } = useAnswer(path(["failures"]), 5);
  const rows = data?.functions ?? [...mesh.failures.value.values()];
  return html`
    <${Head} title="Failures" about="Invocations that were given up after their last attempt. They are kept until somebody retries or discards them." />
    ${error && html`<${Failed} error=${error} again=${again} />`}
    ${rows.length
      ? html`<div class="card"><${Table} label="Functions with dead letters" rows=${rows} id=${(/** @type {any} */ it) => it.function} columns=${COLUMNS} sort="Newest" descending /></div>`
      : data ? html`<${Empty} title="Nothing has failed for good"><p>What fails is retried first. What is given up appears here.</p><//>` : !error && html`<${Loading} />`}
    <${Resolved} />`;
}

const COLUMNS = [
  { name: "Function", by: (/** @type {any} */ it) => it.function, cell: (/** @type {any} */ it) => html`<a href=${href(["failures", it.function])}><${Text} text=${it.function} /></a>
    ${it.served === false && html`<div class="small warn-text">no process serves it</div>`}` },
  { name: "Dead letters", num: true, by: (/** @type {any} */ it) => it.count, cell: (/** @type {any} */ it) => count(it.count) },
  { name: "Oldest", optional: true, by: (/** @type {any} */ it) => it.oldest, cell: (/** @type {any} */ it) => html`<${Time} at=${it.oldest || null} />` },
  { name: "Newest", by: (/** @type {any} */ it) => it.newest, cell: (/** @type {any} */ it) => html`<${Time} at=${it.newest || null} />` },
];

/**
 * Do something with dead letters, say what came of it, and look again.
 * @param {string[]} at @param {unknown} body @param {(answer: any) => string} say @param {() => void} again
 */
export async function act(at, body, say, again) {
  try {
    tell(say(await ask(path(at), body)));
    return true;
  } catch (error) {
    tell(/** @type {Error} */ (error).message, { bad: true });
    return false;
  } finally {
    again();
  }
}

/** @param {{ name: string, chosen: string }} props */
function Groups({ name, chosen }) {
  const { data, error, again } = useAnswer(path(["failures", name], { limit: "500" }), 5);
  const crumb = html`<a href=${href(["failures"])}>Failures</a>`;
  const title = visible(name);
  if (!data) return html`<${Head} title=${title} crumb=${crumb} />${error ? html`<${Failed} error=${error} again=${again} />` : html`<${Loading} />`}`;
  const all = data.dead_letters.length;
  const retryAll = async () => {
    const about = `Each goes back to the inbox of ${visible(name)} and is run as if it were new.`;
    if (await confirm({ title: `Retry all dead letters of ${name}?`, about, action: "Retry all" })) {
      act(["failures", name, "retry"], { all: true }, ({ retried }) => `${count(retried)} will be run again.`, again);
    }
  };
  return html`
    <${Head} title=${title} crumb=${crumb}>
      <a class="button" href=${href(["functions", name])}>Function</a>
      ${may("manage") && all > 0 && html`<button onClick=${retryAll}>Retry all</button>`}
    <//>
    ${error && html`<${Failed} error=${error} again=${again} />`}
    ${!all && html`<${Empty} title="It has no dead letters now"><p>What was retried is among the <a href=${href(["invocations"], { function: name })}>invocations</a>.</p><//>`}
    ${data.groups.map((/** @type {any} */ group) => html`<${Group} key=${group.key} name=${name} group=${group} open=${group.key === chosen || data.groups.length === 1}
      letters=${data.dead_letters.filter((/** @type {any} */ it) => it.group === group.key)} again=${again} />`)}`;
}

/** @param {{ name: string, group: any, letters: any[], open: boolean, again: () => void }} props */
function Group({ name, group, letters, open, again }) {
  const [shown, setShown] = useState(open);
  const [busy, setBusy] = useState(false);
  const run = async (/** @type {string} */ what, /** @type {(answer: any) => string} */ say) => {
    setBusy(true);
    await act(["failures", name, what], { group: group.key }, say, again);
    setBusy(false);
  };
  const discard = async () => {
    const about = "They are taken out of the queue of dead letters, and not run again. The newest stay listed as resolved until the console ends.";
    const title = `Discard ${count(group.count)} dead letters?`;
    if (await confirm({ title, about, action: "Discard", danger: true })) {
      run("discard", ({ discarded }) => `${count(discarded)} discarded.`);
    }
  };
  const heading = html`<${Text} text=${group.error_type || "No error is known"} /> <span class="muted small">${count(group.count)}</span>`;
  return html`<${Card} title=${heading} flush aside=${may("manage") && html`<div class="row">
      <button class="primary" disabled=${busy} onClick=${() => run("retry", ({ retried }) => `${count(retried)} will be run again.`)}>Retry group</button>
      <button class="danger" disabled=${busy} onClick=${discard}>Discard</button></div>`}>
    <div class="body">
      <p><${Text} text=${letters[0]?.error_message ?? ""} /></p>
      <p class="muted small">${group.frame && html`<${Text} text=${group.frame} code /> · `}first <${Time} at=${group.first} />, last <${Time} at=${group.last} /></p>
      <div><button class="link" aria-expanded=${shown} onClick=${() => setShown(!shown)}>${shown ? "Hide them" : "Show them"}</button></div>
    </div>
    ${shown && html`<${Table} label="Dead letters" rows=${letters} id=${(/** @type {any} */ it) => it.id} sort="Failed" descending columns=${[
      { name: "Id", cell: (/** @type {any} */ it) => html`<a href=${href(["failures", name, it.id])}><${Text} text=${it.id} code /></a>` },
      { name: "Failed", by: (/** @type {any} */ it) => it.last_failure, cell: (/** @type {any} */ it) => html`<${Time} at=${it.last_failure || it.created} />` },
      { name: "Attempts", num: true, by: (/** @type {any} */ it) => it.attempts, cell: (/** @type {any} */ it) => count(it.attempts) },
      { name: "Trigger", optional: true, cell: (/** @type {any} */ it) => visible(it.trigger) },
    ]} />`}
  <//>`;
}

function Resolved() {
  const { data } = useAnswer(path(["resolved"]), 5);
  if (!data?.resolved?.length) return null;
  return html`<${Card} title="Resolved" flush><${Table} label="Resolved dead letters" rows=${data.resolved} id=${(/** @type {any} */ it) => `${it.function} ${it.id} ${it.at}`} columns=${[
    { name: "Function", cell: (/** @type {any} */ it) => html`<${Text} text=${it.function} />` },
    { name: "What", cell: (/** @type {any} */ it) => html`${visible(it.action)}${it.copy && html` as <a href=${href(["invocations", it.copy])}><${Text} text=${it.copy} code /></a>`}` },
    { name: "By", cell: (/** @type {any} */ it) => html`<${Text} text=${it.by} />` },
    { name: "When", cell: (/** @type {any} */ it) => html`<${Time} at=${it.at} />` },
  ]} /><//>`;
}

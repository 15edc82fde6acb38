// @ts-check
/** A form made of a JSON schema, for what a function takes. What has no field is written as JSON. */

import { pretty, visible } from "../format.js";
import { html, useState } from "../html.js";

const DEEP = 6;
const BARRED = new Set(["__proto__", "constructor", "prototype"]);

/** Follow references within the schema. @param {any} schema @param {any} root @returns {any} */
export function resolve(schema, root, turns = 8) {
  if (!schema || typeof schema !== "object" || turns === 0) return {};
  if (typeof schema.$ref === "string" && schema.$ref.startsWith("#/")) {
    const found = schema.$ref.slice(2).split("/").reduce(
      (/** @type {any} */ at, /** @type {string} */ part) => (at && Object.hasOwn(at, part) ? at[part] : undefined), root);
    return { ...resolve(found, root, turns - 1), ...pick(schema, ["description", "default"]) };
  }
  if (Array.isArray(schema.anyOf)) {
    const others = schema.anyOf.filter((/** @type {any} */ each) => each?.type !== "null");
    if (others.length === 1) return { ...pick(schema, ["title", "description", "default"]), ...resolve(others[0], root, turns - 1), nullable: true };
  }
  if (Array.isArray(schema.allOf) && schema.allOf.length === 1) return { ...resolve(schema.allOf[0], root, turns - 1), ...pick(schema, ["description", "default"]) };
  return schema;
}

/** @param {any} from @param {string[]} names */
function pick(from, names) {
  return Object.fromEntries(names.filter((name) => Object.hasOwn(from, name)).map((name) => [name, from[name]]));
}

/** A value that the schema allows, to begin with. @param {any} given @param {any} root @returns {any} */
export function example(given, root, deep = 0) {
  const schema = resolve(given, root);
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (Array.isArray(schema.examples) && schema.examples.length) return schema.examples[0];
  if (Array.isArray(schema.enum) && schema.enum.length) return schema.enum[0];
  if (schema.nullable || deep > DEEP) return null;
  switch (schema.type) {
    case "object": {
      const fields = Object.entries(schema.properties ?? {}).filter(([name]) => !BARRED.has(name) && (schema.required ?? []).includes(name));
      return Object.fromEntries(fields.map(([name, field]) => [name, example(field, root, deep + 1)]));
    }
    case "array": return schema.minItems > 0 || deep < 2 ? [example(schema.items ?? {}, root, deep + 1)] : [];
    case "integer": case "number": return Math.max(0, schema.minimum ?? (schema.exclusiveMinimum ?? -1) + 1);
    case "boolean": return false;
    case "string": return TEXTS[/** @type {keyof typeof TEXTS} */ (schema.format)] ?? "";
    default: return null;
  }
}

const TEXTS = { date: "2026-01-01", "date-time": "2026-01-01T12:00:00Z", email: "ada@example.com", uuid: "00000000-0000-4000-8000-000000000000" };

/**
 * @param {{ schema: any, root: any, value: any, onValue: (value: any) => void, name: string, required?: boolean, deep?: number }} props
 */
export function SchemaForm({ schema: given, root, value, onValue, name, required = false, deep = 0 }) {
  const schema = resolve(given, root);
  const label = html`<span>${visible(schema.title ?? name)}${required && html`<span class="muted"> (required)</span>`}</span>`;
  const hint = schema.description && html`<span class="hint data">${visible(schema.description)}</span>`;
  if (Array.isArray(schema.enum) && schema.enum.every((/** @type {any} */ it) => typeof it === "string")) {
    return html`<label class="field">${label}<select value=${value ?? ""} onChange=${(/** @type {any} */ event) => onValue(event.target.value)}>
      ${schema.enum.map((/** @type {string} */ it) => html`<option key=${it} value=${it}>${visible(it)}</option>`)}</select>${hint}</label>`;
  }
  if (schema.type === "object" && schema.properties && deep < DEEP) {
    const fields = Object.entries(schema.properties).filter(([key]) => !BARRED.has(key));
    return html`<fieldset><legend>${visible(schema.title ?? name)}</legend>${hint}
      ${!fields.length && html`<p class="muted">It has no fields.</p>`}
      ${fields.map(([key, field]) => html`<${SchemaForm} key=${key} schema=${field} root=${root} name=${key} deep=${deep + 1}
        required=${(schema.required ?? []).includes(key)} value=${value && Object.hasOwn(value, key) ? value[key] : undefined}
        onValue=${(/** @type {any} */ changed) => onValue(withField(value, key, changed))} />`)}</fieldset>`;
  }
  if (schema.type === "array" && schema.items && deep < DEEP) {
    const items = Array.isArray(value) ? value : [];
    return html`<fieldset><legend>${visible(schema.title ?? name)}</legend>${hint}
      ${items.map((item, index) => html`<div key=${index} class="stack">
        <${SchemaForm} schema=${schema.items} root=${root} name=${`${name} ${index + 1}`} deep=${deep + 1} value=${item} required
          onValue=${(/** @type {any} */ changed) => onValue(items.map((old, at) => (at === index ? changed : old)))} />
        <div><button type="button" onClick=${() => onValue(items.filter((_, at) => at !== index))}>Remove ${visible(name)} ${index + 1}</button></div>
      </div>`)}
      <div><button type="button" onClick=${() => onValue([...items, example(schema.items, root, 1)])}>Add ${visible(name)}</button></div></fieldset>`;
  }
  if (schema.type === "boolean") {
    return html`<label class="check"><input type="checkbox" checked=${value === true}
      onChange=${(/** @type {any} */ event) => onValue(event.target.checked)} /> ${label}${hint}</label>`;
  }
  if (schema.type === "integer" || schema.type === "number") {
    return html`<label class="field">${label}<input type="number" step=${schema.type === "integer" ? 1 : "any"} min=${schema.minimum}
      max=${schema.maximum} value=${value ?? ""} required=${required}
      onInput=${(/** @type {any} */ event) => onValue(event.target.value === "" ? undefined : Number(event.target.value))} />${hint}</label>`;
  }
  if (schema.type === "string") {
    return html`<label class="field">${label}<input type="text" value=${value ?? ""} minlength=${schema.minLength} maxlength=${schema.maxLength}
      required=${required} onInput=${(/** @type {any} */ event) =>
        onValue(event.target.value === "" && !required ? (schema.nullable ? null : undefined) : event.target.value)} />${hint}</label>`;
  }
  return html`<${JsonField} label=${label} value=${value} onValue=${onValue} />`;
}

/** @param {any} value @param {string} key @param {any} changed */
function withField(value, key, changed) {
  const next = { ...(value && typeof value === "object" ? value : {}) };
  if (changed === undefined) delete next[key];
  else next[key] = changed;
  return next;
}

/** @param {{ label: unknown, value: any, onValue: (value: any) => void, rows?: number }} props */
export function JsonField({ label, value, onValue, rows = 4 }) {
  const [text, setText] = useState(value === undefined ? "" : pretty(value));
  const [wrong, setWrong] = useState("");
  return html`<label class="field">${label}
    <textarea rows=${rows} spellcheck="false" aria-invalid=${wrong ? "true" : undefined} value=${text} onInput=${(/** @type {any} */ event) => {
      setText(event.target.value);
      try {
        onValue(event.target.value.trim() === "" ? undefined : JSON.parse(event.target.value));
        setWrong("");
      } catch (error) {
        setWrong(String(/** @type {Error} */ (error).message));
      }
    }}></textarea>${wrong && html`<span class="wrong" role="alert">No JSON: ${visible(wrong)}</span>`}</label>`;
}

// @ts-check
/** Numbers, times and texts as people read them. */

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (size < 1) return `${round(seconds * 1000)} ms`;
  if (size < 60) return `${round(seconds)} s`;
  if (size < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (size < 86400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.round((seconds % 86400) / 3600)} h`;
}

/** @param {number} value */
function round(value) {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(2));
}

/** @param {number | null | undefined} value */
export function count(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");
}

/** @param {number | null | undefined} perSecond */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return "–";
  if (perSecond === 0) return "0/s";
  if (perSecond < 0.1) return `${Number((perSecond * 60).toPrecision(2))}/min`;
  return perSecond < 100 ? `${Number(perSecond.toPrecision(2))}/s` : `${count(perSecond)}/s`;
}

/** @param {number | null | undefined} share */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  return share > 0 && share < 0.001 ? "<0.1 %" : `${Number((share * 100).toPrecision(3))} %`;
}

/** @param {number | null | undefined} size */
export function bytes(size) {
  if (size === null || size === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) [size, unit] = [size / 1024, unit + 1];
  return `${unit === 0 ? size : size.toPrecision(3)} ${units[unit]}`;
}

/** How long ago, or how soon. @param {number | null | undefined} moment  seconds since the epoch */
export function relative(moment, now = Date.now() / 1000) {
  if (moment === null || moment === undefined) return "–";
  const past = now - moment;
  if (Math.abs(past) < 1.5) return "now";
  const size = Math.abs(past);
  const text =
    size < 60 ? `${Math.round(size)} s`
    : size < 3600 ? `${Math.round(size / 60)} min`
    : size < 86400 * 2 ? `${Math.round(size / 3600)} h`
    : `${Math.round(size / 86400)} d`;
  return past > 0 ? `${text} ago` : `in ${text}`;
}

/** @param {number | null | undefined} moment  seconds since the epoch */
export function clock(moment) {
  if (moment === null || moment === undefined) return "–";
  const date = new Date(moment * 1000);
  const time = date.toLocaleTimeString("en-GB");
  const today = new Date().toDateString() === date.toDateString();
  return today ? time : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** @param {number} moment  seconds since the epoch */
export function exact(moment) {
  return new Date(moment * 1000).toISOString();
}

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Show characters that hide text or turn it around, so that no name looks like another. @param {unknown} text */
export function visible(text) {
  return String(text).replace(
    UNSEEN,
    (it) => `⟨U+${it.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** A value as indented JSON. @param {unknown} value */
export function pretty(value) {
  try {
    return JSON.stringify(value, null, 2) ?? "";
  } catch {
    return String(value);
  }
}

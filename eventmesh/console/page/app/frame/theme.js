// @ts-check
/** Dark, light, or as the system has it. */

import { effect, signal } from "../html.js";

const KEY = "eventmesh.console.theme";
const NEXT = { auto: "dark", dark: "light", light: "auto" };

/** @type {{ value: "auto" | "dark" | "light" }} */
export const theme = signal(/** @type {any} */ (read()));

function read() {
  const kept = localStorage.getItem(KEY) ?? "auto";
  return Object.hasOwn(NEXT, kept) ? kept : "auto";
}

export function toggleTheme() {
  theme.value = /** @type {any} */ (NEXT[theme.value]);
  localStorage.setItem(KEY, theme.value);
}

effect(() => {
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
});

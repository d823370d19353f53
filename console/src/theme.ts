/**
 * Light or dark: the system's choice, until a person makes one.
 */
const STORED = "jotgate.theme";

export function applyTheme(): void {
  const chosen = localStorage.getItem(STORED);
  if (chosen !== null) document.documentElement.dataset["theme"] = chosen;
}

export function switchTheme(): void {
  const chosen = document.documentElement.dataset["theme"];
  const isDark = chosen === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "dark";
  localStorage.setItem(STORED, isDark ? "light" : "dark");
  applyTheme();
}

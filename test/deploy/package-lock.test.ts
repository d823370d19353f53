/**
 * package-lock.json works everywhere: `npm ci` on other platforms, other registries, the oldest Node we support.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

interface Entry {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly optional?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly engines?: { readonly node?: string };
}
const text = readFileSync(join(import.meta.dirname, "../../package-lock.json"), "utf8");
const { packages } = JSON.parse(text) as { readonly packages: Readonly<Record<string, Entry>> };
const entries = Object.entries(packages).filter(([path]) => path !== "");

test("no package is bound to the address it was fetched from", () => {
  expect(entries.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
});

test("every package has the sum of its bytes, those for other platforms too", () => {
  const without = entries.filter(([, { integrity }]) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? ""));
  expect(without.map(([path]) => path)).toEqual([]);
});

test(".npmrc leaves npm's audits on", () => {
  expect(readFileSync(join(import.meta.dirname, "../../.npmrc"), "utf8")).not.toMatch(/^\s*audit\s*=\s*false/m);
});

test("packages for other platforms have their entry, else npm ci refuses the whole file", () => {
  const missing = entries
    .flatMap(([, { optionalDependencies }]) => Object.keys(optionalDependencies ?? {}))
    .filter((name) => !entries.some(([path]) => path.endsWith(`node_modules/${name}`)));
  expect(missing).toEqual([]);
});

test("no package wants a newer Node than this one does", () => {
  const newer = entries.filter(([, { engines }]) => /^>=? ?(?:2[1-9]|[3-9]\d)\b/.test(engines?.node ?? ""));
  expect(newer.map(([path]) => path)).toEqual([]);
});

test("who installs the package gets the same versions: npm heeds overrides of the checkout only", () => {
  const manifest = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as object;
  expect(manifest).not.toHaveProperty("overrides");
});

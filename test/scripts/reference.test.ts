/** docs/reference is what the code says, and says of every member and metric what it means. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const PAGES = join(ROOT, "docs/reference");
const read = (path: string): string => readFileSync(path, "utf8");

test("the pages are as new as the code (npm run docs:reference)", () => {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-reference-"));
  try {
    const made = spawnSync(process.execPath, ["--import", "tsx", join(ROOT, "scripts/docs-reference.mjs"), folder], {
      encoding: "utf8",
      cwd: ROOT,
    });
    expect(made.stderr).toBe("");
    const texts = "member-texts.ts";
    expect(read(join(folder, texts))).toBe(read(join(ROOT, "src/plugins", texts)));
    rmSync(join(folder, texts));
    expect(readdirSync(folder).sort()).toEqual(readdirSync(PAGES).sort());
    for (const name of readdirSync(folder)) expect(read(join(PAGES, name)), name).toBe(read(join(folder, name)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("no member of a resource or plugin is without a meaning", () => {
  for (const name of readdirSync(PAGES)) {
    const without = read(join(PAGES, name))
      .split("\n")
      .filter((line) => /^\| `.*\|\s+\|$/.test(line));
    expect(without, name).toEqual([]);
  }
});

test("every metric that the sources name is on the page", () => {
  const page = read(join(PAGES, "metrics.md"));
  const sources = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  const named = sources.flatMap((name) => [...read(join(ROOT, "src", name)).matchAll(/"(jotgate_[a-z_]+)"/g)]);
  const missing = [...new Set(named.map(([, name]) => name))].filter((name) => !page.includes(`| \`${name}\` |`));
  expect(missing).toEqual([]);
});

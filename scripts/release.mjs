/**
 * `npm run release -- 0.2.0`: turns "Unreleased" of the changelog into a section of that version, writes the version, commits,
 * tags, and packs the tarball that is published. Promise: nothing is changed when something is wrong; nothing is pushed or
 * published: the last lines say how.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./project.mjs";

const git = (...args) => execFileSync("git", ["-C", ROOT, ...args], { encoding: "utf8" }).trim();
const file = (name) => join(ROOT, name);

function refuse(text) {
  console.error(text);
  process.exit(1);
}

/** @returns whether a is a later version than b */
function isLater(a, b) {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  const at = left.findIndex((part, index) => part !== right[index]);
  return at >= 0 && left[at] > right[at];
}

const [version = ""] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(file("package.json"), "utf8"));
const changelog = readFileSync(file("CHANGELOG.md"), "utf8");
const [before, rest] = changelog.split("## [Unreleased]\n");
const unreleased = rest?.split(/^## \[/m)[0]?.trim() ?? "";

if (!/^\d+\.\d+\.\d+$/.test(version)) refuse("usage: npm run release -- 0.2.0");
if (!isLater(version, manifest.version)) refuse(`${version} is not later than ${manifest.version}`);
if (git("status", "--porcelain") !== "") refuse("the work tree has changes: commit or undo them first");
if (git("rev-parse", "--abbrev-ref", "HEAD") !== "main") refuse("releases are made on main");
if (git("tag", "--list", `v${version}`) !== "") refuse(`tag v${version} exists`);
if (unreleased === "") refuse('CHANGELOG.md says nothing under "Unreleased": what would this release be for?');

execFileSync("npm", ["run", "build"], { cwd: ROOT, stdio: "inherit" }); // before anything is changed
const today = new Date().toISOString().slice(0, 10);
writeFileSync(file("CHANGELOG.md"), `${before}## [Unreleased]\n\n## [${version}] - ${today}\n\n${rest.trimStart()}`);
for (const name of ["package.json", "package-lock.json"]) {
  const text = readFileSync(file(name), "utf8");
  const times = name === "package.json" ? 1 : 2; // the lock names the project twice
  let left = times;
  writeFileSync(
    file(name),
    text.replaceAll(`"version": "${manifest.version}"`, (match) => (left-- > 0 ? `"version": "${version}"` : match)),
  );
}
git("commit", "-qam", `chore: release ${version}`);
git("tag", "-a", `v${version}`, "-m", `Jotgate ${version}\n\n${unreleased}`);
const [packed] = JSON.parse(
  execFileSync("npm", ["pack", "--json", "--ignore-scripts"], { cwd: ROOT, encoding: "utf8" }),
);
const digest = createHash("sha256")
  .update(readFileSync(file(packed.filename)))
  .digest("hex");
console.log(`
${packed.filename}  ${packed.entryCount} files, ${packed.unpackedSize} bytes unpacked
sha256 ${digest}
built from ${git("rev-parse", "HEAD")} (tag v${version})

Publish it from a CI job with an identity token, so that the registry shows where it was built:
  git push origin main v${version}
  npm publish ${packed.filename} --provenance --access public
To take it back: git tag -d v${version} && git reset --hard HEAD~1`);

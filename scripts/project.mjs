/**
 * What `npm start`, `npm run build` and `npm test` share: install when needed, build when needed, say what is going on.
 * Plain Node, no dependencies: it runs before there are any.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DIST = join(ROOT, "dist");
const STAMP = join(DIST, ".build");

/** Runs a command to its end. @returns the exit code; 1 when it could not be started or was ended by a signal */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: "inherit", ...options });
    child.on("error", (error) => {
      console.error(`${command}: ${error.message}`);
      resolve(1);
    });
    child.on("close", (code) => resolve(code ?? 1));
  });
}

/** Whoever keeps the output in a file wants no colours there, nor those of programs that are started from here. */
export function withoutColours() {
  if (!process.stdout.isTTY && process.env.FORCE_COLOR === undefined) process.env.NO_COLOR = "1";
}

/** Whether a program can be started here. */
export function has(program, ...args) {
  return spawnSync(program, args.length > 0 ? args : ["--version"], { stdio: "ignore" }).error === undefined;
}

/** Runs npm with what started us, so that the version is the user's own. */
export function npm(...args) {
  const cli = process.env.npm_execpath;
  return cli?.endsWith(".js")
    ? run(process.execPath, [cli, ...args])
    : run("npm", args, { shell: process.platform === "win32" });
}

/** Runs a long step; says when it begins, how long it has been going on where nothing else shows that, and how long it took. */
async function longStep(what, done, action) {
  const begin = Date.now();
  const seconds = () => (Date.now() - begin) / 1_000;
  console.log(`${what} ...`);
  const tick = () => console.log(`${what} ... ${Math.round(seconds())} s`);
  const timer = process.stdout.isTTY ? undefined : setInterval(tick, 5_000);
  try {
    await action();
  } finally {
    clearInterval(timer);
  }
  console.log(`${done} in ${seconds().toFixed(1)} s.`);
}

/** Whether node_modules holds what package-lock.json asks for (packages for other platforms aside). */
export function isInstalled() {
  const installed = readJson("node_modules/.package-lock.json")?.packages;
  const wanted = readJson("package-lock.json")?.packages;
  if (!installed || !wanted) return false;
  return Object.entries(wanted).every(([path, { version, optional, link }]) => {
    if (path === "" || optional || link) return true;
    return installed[path]?.version === version;
  });
}

export async function installIfNeeded() {
  if (isInstalled()) return;
  await longStep(
    "Installing packages (the first time, or after their list changed)",
    "Packages installed",
    async () => {
      const code = await npm(existsSync(join(ROOT, "package-lock.json")) ? "ci" : "install", "--no-audit", "--no-fund");
      if (code !== 0) throw new Error("npm could not install the packages; its output above says why");
    },
  );
}

/** Made from src: types and paths of the Admin API, for the console. */
const GENERATED = "generated.ts";

/** A text that changes whenever what is built of these files and folders would. */
function stateOf(...paths) {
  const hash = createHash("sha256");
  const files = paths.flatMap((path) => {
    const full = join(ROOT, path);
    if (!statSync(full).isDirectory()) return [full];
    return readdirSync(full, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== GENERATED)
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  });
  for (const file of files.sort())
    hash.update(file.slice(ROOT.length)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

const sourceState = () =>
  stateOf("src", "console", "tsconfig.json", "tsconfig.build.json", "node_modules/typescript/package.json");
const consoleState = () =>
  stateOf("console", `console/src/api/${GENERATED}`, "scripts/console.mjs", "package-lock.json");

export function isBuilt() {
  return existsSync(STAMP) && readFileSync(STAMP, "utf8") === sourceState();
}

const compiler = join(ROOT, "node_modules/typescript/bin/tsc");

const generate = async () => (await run(process.execPath, ["--import", "tsx", "scripts/console-types.mjs"])) === 0;
const checkConsole = async () => (await run(process.execPath, [compiler, "-p", "console/tsconfig.json"])) === 0;

/** Checks the console's types by what the Admin API says of itself. */
export const consoleTypes = async () => (await generate()) && (await checkConsole());

/** The console's files: those of the last build where nothing of them changed. */
async function buildConsole(folder) {
  const state = consoleState();
  const former = join(DIST, "console");
  const stamp = join(former, ".build");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === state) {
    cpSync(former, folder, { recursive: true });
    return true;
  }
  const code = await run(process.execPath, ["scripts/console.mjs", folder]);
  if (code === 0) writeFileSync(join(folder, ".build"), state);
  return code === 0;
}

/**
 * Compiles src to dist and bundles the console into dist/console. The old build stays until the new one is complete, and when
 * the new one fails.
 * @param checked whether the types were checked a moment ago
 */
export function build(checked = false) {
  return longStep("Building", "Built", async () => {
    const next = `${DIST}.${process.pid}`;
    const former = `${next}.former`;
    const state = sourceState();
    try {
      const options = ["-p", "tsconfig.build.json", "--outDir", next, ...(checked ? ["--noCheck"] : [])];
      if (!(await generate())) throw new Error("the Admin API cannot be described; the messages above say why");
      const steps = [
        run(process.execPath, [compiler, ...options]).then((code) => code === 0),
        buildConsole(join(next, "console")),
        checked || checkConsole(),
      ];
      if ((await Promise.all(steps)).includes(false))
        throw new Error("the sources do not compile; the messages above say where");
      writeFileSync(join(next, ".build"), state);
      if (existsSync(DIST)) renameSync(DIST, former);
      renameSync(next, DIST);
    } finally {
      for (const folder of [next, former]) rmSync(folder, { recursive: true, force: true });
    }
  });
}

export async function buildIfNeeded(checked = false) {
  if (!isBuilt()) await build(checked);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(ROOT, path), "utf8"));
  } catch {
    return undefined; // not there yet
  }
}

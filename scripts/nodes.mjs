/**
 * `npm run test:nodes`: starts a gateway, serves by it and stops it, and runs the unit tests, on each Node.js that npm offers as
 * packages. `--newest`: only the newest, only the gateway, and only if it can be had soon; `npm test` does that.
 * What was fetched is kept in the user's cache folder. A Node that cannot be had is skipped, and that is said.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { claimPort } from "./processes.mjs";
import { buildIfNeeded, ROOT } from "./project.mjs";

const MAJORS = [22, 24, 26];
/** What the package `node` would install here. */
const PACKAGE = `node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}`;
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "jotgate");
const FETCH_MS = 300_000;
const FETCH_SOON_MS = 12_000;
const SERVE_MS = 60_000;
const KEY = "a-key-for-this-run-only-0123456789";

const { values: options } = parseArgs({ options: { newest: { type: "boolean", default: false } } });

/** Runs a program to its end or for `limitMs`. @returns exit code (undefined: it took too long) and output */
function runFor(limitMs, command, args, settings) {
  return new Promise((resolve) => {
    let output = "";
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...settings });
    const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => (output += error.message));
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? undefined, output });
    });
  });
}

/** @returns the program, or why there is none */
async function fetchNode(major) {
  const folder = join(CACHE, `node-${major}`);
  const program = join(folder, "node_modules", PACKAGE, "bin", process.platform === "win32" ? "node.exe" : "node");
  const isThere = existsSync(program);
  if (isThere && options.newest) return { program };
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), "{}\n");
  } catch (error) {
    return { trouble: error.message };
  }
  const cli = process.env.npm_execpath;
  const [command, first] = cli?.endsWith("js") ? [process.execPath, [cli]] : ["npm", []];
  const limitMs = options.newest ? FETCH_SOON_MS : FETCH_MS;
  const args = [
    ...first,
    "install",
    "--no-save",
    "--no-audit",
    "--no-fund",
    "--no-package-lock",
    `${PACKAGE}@${major}`,
  ];
  const { code, output } = await runFor(limitMs, command, args, { cwd: folder });
  if (existsSync(program)) return { program };
  const last = output.trim().split("\n").at(-1);
  return { trouble: code === undefined ? `not fetched within ${limitMs / 1_000} s` : last || `npm ended with ${code}` };
}

/** A gateway on this Node: one route, one call, an end in order. @throws Error with its output */
async function serveOn(program) {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-node-"));
  const [admin, gateway, status] = [await claimPort(0), await claimPort(0), await claimPort(0)];
  const at = (port) => `127.0.0.1:${port}`;
  const listen = ["--admin-listen", at(admin), "--gateway-listen", at(gateway), "--status-listen", at(status)];
  const args = [join(ROOT, "bin/jotgate.mjs"), "start", ...listen, "--control-listen", "off", "--data-dir", folder];
  const ours = Object.entries(process.env).filter(([name]) => !name.startsWith("JOTGATE_") && name !== "NODE_OPTIONS");
  const child = spawn(program, args, {
    env: { ...Object.fromEntries(ours), JOTGATE_ADMIN_KEY: KEY },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const ended = new Promise((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  const end = Date.now() + SERVE_MS;
  const call = (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  const untilIs = async (what, url, wanted, init) => {
    for (;;) {
      const answer = await call(url, init);
      if (answer?.status === wanted) return answer.text();
      if (isOver || Date.now() > end)
        throw new Error(`${what}: ${answer ? `answered ${answer.status}` : "no answer"}\n${output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  try {
    await untilIs("not ready", `http://${at(status)}/ready`, 200);
    const route = { uri: "/hello", plugins: { mocking: { response_example: "served" } } };
    const put = { method: "PUT", headers: { "x-api-key": KEY }, body: JSON.stringify(route) };
    await untilIs("no route is taken", `http://${at(admin)}/apisix/admin/routes/1?wait=all`, 201, put);
    const text = await untilIs("the route does not serve", `http://${at(gateway)}/hello`, 200);
    if (!text.includes("served")) throw new Error(`the route answers ${text}`);
    child.kill("SIGTERM");
    const hard = setTimeout(() => child.kill("SIGKILL"), SERVE_MS);
    const code = await ended;
    clearTimeout(hard);
    if (code !== 0) throw new Error(`ended with ${code}\n${output}`);
  } finally {
    child.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

let failures = 0;
await buildIfNeeded();
for (const major of options.newest ? MAJORS.slice(-1) : MAJORS) {
  const { program, trouble } = await fetchNode(major);
  if (program === undefined) {
    console.log(`SKIPPED: Node.js ${major} (${PACKAGE}) cannot be had: ${trouble}`);
    if (options.newest) console.log("         `npm run test:nodes` takes more time for it.");
    continue;
  }
  const version = (await runFor(10_000, program, ["--version"])).output.trim();
  try {
    await serveOn(program);
    console.log(`Node.js ${version}: starts, takes a route, serves, ends`);
  } catch (error) {
    failures++;
    console.error(`Node.js ${version}: ${error.message}`);
    continue;
  }
  if (options.newest) continue;
  const vitest = [join(ROOT, "node_modules/vitest/vitest.mjs"), "run", "--project", "unit"];
  const { code, output } = await runFor(900_000, program, vitest, { cwd: ROOT });
  console.log(
    `Node.js ${version}: unit tests ${code === 0 ? "pass" : "FAIL"}\n${output
      .trim()
      .split("\n")
      .slice(code === 0 ? -5 : -80)
      .join("\n")}`,
  );
  if (code !== 0) failures++;
}
process.exitCode = failures > 0 ? 1 : 0;

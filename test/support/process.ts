/**
 * Child processes of the end-to-end tests: started with free ports, ended by id, their output kept for the failure text.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { patience } from "./long-run.ts";
import { freePort } from "./ports.ts";

export const ROOT = resolve(import.meta.dirname, "../..");
const BIN = join(ROOT, "bin/jotgate.mjs");

export const ADMIN_KEY = "e2e-admin-key-0123456789abcdef";
export const VIEWER_KEY = "e2e-viewer-key-0123456789abcdef";

const alive = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of alive) child.kill("SIGKILL");
});

/** A folder that is gone when the test process ends. */
export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `jotgate-${name}-`));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Polls `fact` until it is truthy. Rejects with the last error or `what` after `limitMs`; see `patience`. */
export async function until<T>(
  what: string,
  fact: () => T | Promise<T>,
  limitMs?: number,
  stepMs = 25,
): Promise<NonNullable<T>> {
  const bound = patience(limitMs);
  const end = Date.now() + bound;
  let last: unknown;
  for (;;) {
    try {
      const value = await fact();
      if (value) return value as NonNullable<T>;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end)
      throw new Error(`not within ${bound} ms: ${what}`, { cause: last instanceof Error ? last : undefined });
    await new Promise((next) => setTimeout(next, stepMs));
  }
}

export interface Running {
  readonly pid: number;
  readonly child: ChildProcess;
  output(): string;
  /** Sends the signal and waits for the end. @returns the exit code, or the signal's name */
  stop(signal?: NodeJS.Signals): Promise<number | string>;
  signal(signal: NodeJS.Signals): void;
  readonly exited: Promise<number | string>;
}

export function run(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Running {
  const clean: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env))
    if (value !== undefined && !name.startsWith("JOTGATE_")) clean[name] = value;
  const child = spawn(command, args, {
    cwd: options.cwd ?? ROOT,
    env: { ...clean, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  alive.add(child);
  let text = "";
  const keep = (chunk: Buffer): void => {
    text = (text + chunk.toString("utf8")).slice(-200_000);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const exited = new Promise<number | string>((ok) => {
    child.on("error", (error) => {
      text += `\n${error.message}`;
      alive.delete(child);
      ok(-1);
    });
    child.on("close", (code, signal) => {
      alive.delete(child);
      ok(code ?? signal ?? -1);
    });
  });
  return {
    pid: child.pid ?? -1,
    child,
    output: () => text,
    exited,
    signal: (signal) => void child.kill(signal),
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      const hard = setTimeout(() => child.kill("SIGKILL"), patience(20_000));
      const code = await exited;
      clearTimeout(hard);
      return code;
    },
  };
}

export interface Node extends Running {
  /** "http://127.0.0.1:port"; empty where this role has no such listener. */
  readonly admin: string;
  readonly gateway: string;
  readonly status: string;
  readonly control: string;
}

export interface NodeOptions {
  readonly etcd?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
  readonly dataDir?: string;
  /** Fixed ports, as when a node is started again. */
  readonly ports?: { readonly admin?: number; readonly gateway?: number; readonly status?: number };
  /** Do not wait until the node is ready. */
  readonly nowait?: boolean;
}

/** Starts `jotgate start | admin | gateway` from dist and waits until it says it is ready. */
export async function startNode(role: "start" | "admin" | "gateway", options: NodeOptions = {}): Promise<Node> {
  if (!existsSync(join(ROOT, "dist/cli/main.js"))) throw new Error("dist is missing: run `npm run build` first");
  const ports = options.ports ?? {};
  const adminPort = role === "gateway" ? 0 : (ports.admin ?? (await freePort()));
  const gatewayPort = role === "admin" ? 0 : (ports.gateway ?? (await freePort()));
  const statusPort = ports.status ?? (await freePort());
  const controlPort = await freePort();
  const args = [BIN, role, "--status-listen", `127.0.0.1:${statusPort}`];
  args.push("--control-listen", `127.0.0.1:${controlPort}`);
  if (adminPort) args.push("--admin-listen", `127.0.0.1:${adminPort}`);
  if (gatewayPort) args.push("--gateway-listen", `127.0.0.1:${gatewayPort}`);
  if (options.etcd) args.push("--etcd", options.etcd.join(","));
  args.push("--data-dir", options.dataDir ?? temporaryFolder(role), ...(options.args ?? []));
  const running = run(process.execPath, args, {
    env: { JOTGATE_ADMIN_KEY: ADMIN_KEY, JOTGATE_VIEWER_KEY: VIEWER_KEY, ...options.env },
  });
  const node: Node = {
    ...running,
    admin: adminPort ? `http://127.0.0.1:${adminPort}` : "",
    gateway: gatewayPort ? `http://127.0.0.1:${gatewayPort}` : "",
    status: `http://127.0.0.1:${statusPort}`,
    control: `http://127.0.0.1:${controlPort}`,
  };
  if (!options.nowait) await untilReady(node);
  return node;
}

/** Waits for `/ready`; fails at once, with the output, when the process ended instead. */
export async function untilReady(node: Node, limitMs = 120_000): Promise<void> {
  let gone: number | string | undefined;
  void node.exited.then((code) => {
    gone = code;
  });
  await until(
    `node ready at ${node.status}\n${node.output()}`,
    async () => {
      if (gone !== undefined) throw new Error(`node ended with ${gone}:\n${node.output()}`);
      return (await fetch(`${node.status}/ready`)).ok;
    },
    limitMs,
  ).catch((error) => {
    throw new Error(`${String(error)}\n${node.output()}`);
  });
}

/** As `admin`, for calls that may be repeated: asked again while it is 503, which a busy machine may make of a store that is late. */
export function adminInTime(...call: Parameters<typeof admin>): ReturnType<typeof admin> {
  return until(`${call[1]} ${call[2]} is answered`, async () => {
    const answer = await admin(...call);
    if (answer.status !== 503) return answer;
    throw new Error(JSON.stringify(answer.body));
  });
}

/** One Admin API call; @returns status and parsed body (or text). */
export async function admin(
  node: { readonly admin: string },
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: unknown; headers: Headers }> {
  const answer = await fetch(`${node.admin}/apisix/admin${path}`, {
    method,
    headers: { "X-API-KEY": ADMIN_KEY, ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  let parsed: unknown = text;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Some answers are plain text; the caller sees it as it is.
  }
  return { status: answer.status, body: parsed, headers: answer.headers };
}

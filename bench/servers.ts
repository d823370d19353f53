/**
 * The servers that are compared: ours in both lanes, and peers as their manuals configure them. Each is pinned to core 0.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export const ROOT = resolve(import.meta.dirname, "..");
export const SECRET = "bench-secret-0123456789-0123456789-abcdef";
export const ADMIN_KEY = "bench-admin-key";
/** What is measured runs on this core, ... */
export const SERVER_CORE = "0";
/** ... load, upstream, etcd and this program on this one. */
export const LOAD_CORE = "1";

export interface Server {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
  /** Ours only. */
  readonly admin?: string;
  readonly status?: string;
  /** Where the load goes when it is to come by HTTP/2 (http2.ts). */
  readonly http2?: string;
  stop(): Promise<void>;
}

export interface ServerKind {
  readonly name: string;
  /** Why it cannot run here, or undefined. */
  missing(): string | undefined;
  start(upstream: string, folder: string): Promise<Server>;
}

const running = new Set<ChildProcess>();
let watching = false;

/** What was started ends with this program, however it ends. */
function endWithThis(child: ChildProcess): void {
  running.add(child);
  if (watching) return;
  watching = true;
  process.on("exit", () => {
    for (const one of running) one.kill("SIGKILL");
  });
  process.on("SIGINT", () => process.exit(130));
  process.on("SIGTERM", () => process.exit(143));
}

export function has(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
}

export function freePort(): Promise<number> {
  return new Promise((ok) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => ok(address && typeof address === "object" ? address.port : 0));
    });
  });
}

/** Lets this process run on these cores, in the form of taskset. */
export function moveSelfTo(cores: string): void {
  spawnSync("taskset", ["-apc", cores, String(process.pid)]);
}

/** Starts `command` on `cores`, in the form of taskset, and waits until `port` accepts. */
export async function launch(
  name: string,
  cores: string,
  command: string,
  args: readonly string[],
  port: number,
  env: Record<string, string> = {},
): Promise<Server> {
  const child = spawn("taskset", ["-c", cores, command, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, NODE_ENV: "production", ...env },
  });
  endWithThis(child);
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000);
  });
  const exited = new Promise<void>((ok) => {
    child.on("exit", () => {
      running.delete(child);
      ok();
    });
  });
  const end = Date.now() + 60_000;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || Date.now() > end) throw new Error(`${name} did not start: ${errors}`);
    await delay(50);
  }
  return {
    name,
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? -1,
    async stop() {
      child.kill("SIGTERM");
      const hard = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await exited;
      clearTimeout(hard);
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((ok) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => {
      socket.destroy();
      ok(true);
    });
    socket.on("error", () => ok(false));
  });
}

function file(folder: string, name: string, text: string): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const nginxHead = (
  folder: string,
): string => `daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid;
error_log ${folder}/error.log crit;
events { worker_connections 4096; }
`;
const nginxPaths = (folder: string): string =>
  ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join("\n");

/** A page of a list as APIs give it, some 16 KiB. */
export const ITEMS = JSON.stringify(
  Array.from({ length: 120 }, (_, n) => ({
    id: n * 7919,
    name: `item ${(n * 104_729) % 9_973}`,
    owner: `user-${(n * 31) % 17}@example.com`,
    updated: new Date(1.7e12 + n * 86_311_000).toISOString(),
    tags: ["new", "blue", "sale"].slice(n % 3),
  })),
);

/** The upstream of all: nginx on core 1 with 65-byte JSON, 1 KiB and 64 KiB answers. */
export async function startUpstream(folder: string): Promise<Server> {
  const port = await freePort();
  mkdirSync(folder, { recursive: true });
  const conf = file(
    folder,
    "nginx.conf",
    `${nginxHead(folder)}http { ${nginxPaths(folder)} access_log off; keepalive_requests 100000000; keepalive_timeout 600s; client_max_body_size 0;
server { listen 127.0.0.1:${port} backlog=4096;
  location / { default_type application/json; return 200 '{"message":"hello from the upstream","padding":"0123456789012345"}'; }
  location ~ /1k$ { default_type text/plain; return 200 '${"x".repeat(1024)}'; }
  location ~ /items$ { default_type application/json; root ${folder}/www; try_files /items =404; }
  location ~ /64k$ { default_type text/plain; root ${folder}/www; try_files /64k =404; }
} }
`,
  );
  mkdirSync(join(folder, "www"), { recursive: true });
  writeFileSync(join(folder, "www/64k"), "x".repeat(65_536));
  writeFileSync(join(folder, "www/items"), ITEMS);
  return launch("upstream", LOAD_CORE, "nginx", ["-p", folder, "-c", conf, "-e", `${folder}/error.log`], port);
}

function nginx(name: string, extraHttp: string, extraLocation: string): ServerKind {
  return {
    name,
    missing: () => (has("nginx") ? undefined : `${name}: nginx is not installed`),
    async start(upstream, folder) {
      const port = await freePort();
      mkdirSync(folder, { recursive: true });
      const conf = file(
        folder,
        "nginx.conf",
        `${nginxHead(folder)}http { ${nginxPaths(folder)} ${extraHttp.replaceAll("FOLDER", folder)} keepalive_requests 100000000; client_max_body_size 0;
upstream backend { server ${upstream.replace("http://", "")}; keepalive 256; keepalive_requests 100000000; }
server { listen 127.0.0.1:${port} backlog=4096;
  location = /sign { default_type text/plain; return 200 'constant'; }
  location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; ${extraLocation} }
} }
`,
      );
      return launch(name, SERVER_CORE, "nginx", ["-p", folder, "-c", conf, "-e", `${folder}/error.log`], port);
    },
  };
}

function haproxy(name: string, frontend: string): ServerKind {
  return {
    name,
    missing: () => (has("haproxy") ? undefined : `${name}: haproxy is not installed`),
    start: async (upstream, folder) => launchHaproxy(name, upstream, folder, await freePort(), frontend),
  };
}

/** @param frontend further lines of the frontend beside its plain port */
export function launchHaproxy(
  name: string,
  upstream: string,
  folder: string,
  port: number,
  frontend: string,
): Promise<Server> {
  const conf = file(
    folder,
    "haproxy.cfg",
    `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:${port}
  ${frontend}
  default_backend b
backend b
  http-reuse always
  server s ${upstream.replace("http://", "")}
`,
  );
  return launch(name, SERVER_CORE, "haproxy", ["-db", "-f", conf], port);
}

function nodePeer(name: string, script: string, module: string): ServerKind {
  return {
    name,
    missing: () =>
      existsSync(join(ROOT, "bench/peers/node_modules", module))
        ? undefined
        : `${name}: its packages are not installed`,
    async start(upstream, folder) {
      const port = await freePort();
      mkdirSync(folder, { recursive: true });
      const args = [join(ROOT, "bench/peers", script), String(port), upstream, SECRET, folder];
      return launch(name, SERVER_CORE, process.execPath, args, port);
    },
  };
}

const missingBuild =
  (name: string, root = ROOT) =>
  (): string | undefined =>
    existsSync(join(root, "dist/cli/main.js")) ? undefined : `${name}: not built`;

/** Ours: `jotgate start` on the embedded store, metrics on. */
export function jotgate(name: string, extra: readonly string[], cores = SERVER_CORE): ServerKind {
  return jotgateAt(ROOT, process.execPath, name, extra, cores);
}

/** The same from another checkout, or on another Node. */
export function jotgateAt(
  root: string,
  node: string,
  name: string,
  extra: readonly string[],
  cores = SERVER_CORE,
): ServerKind {
  return {
    name,
    missing: () => (existsSync(node) ? missingBuild(name, root)() : `${name}: its Node is not installed`),
    async start(_upstream, folder) {
      const [gateway, admin, status, control] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
      const args = [join(root, "bin/jotgate.mjs"), "start", "--gateway-listen", `127.0.0.1:${gateway}`];
      args.push("--admin-listen", `127.0.0.1:${admin}`, "--status-listen", `127.0.0.1:${status}`);
      args.push("--control-listen", `127.0.0.1:${control}`, "--data-dir", join(folder, "data"), ...extra);
      const server = await launch(name, cores, node, args, gateway, { JOTGATE_ADMIN_KEY: ADMIN_KEY });
      return { ...server, admin: `http://127.0.0.1:${admin}`, status: `http://127.0.0.1:${status}` };
    },
  };
}

/** A big table takes a while; what takes longer than this is broken. */
const READY_MS_MAX = 900_000;

/** @throws Error when that takes minutes */
export async function untilReady(name: string, status: string): Promise<void> {
  const end = Date.now() + READY_MS_MAX;
  let answer = await fetch(`${status}/ready`);
  while (!answer.ok) {
    if (Date.now() > end) throw new Error(`${name} is not ready: ${await answer.text()}`);
    await answer.arrayBuffer();
    await delay(50);
    answer = await fetch(`${status}/ready`);
  }
  await answer.arrayBuffer();
}

const ON_ETCD = "jotgate, fast lane";

/** Ours: `jotgate gateway`, one worker, on etcd below `prefix`; up when it has loaded what is there. */
export function gatewayOn(etcd: string, prefix: string): ServerKind {
  return {
    name: ON_ETCD,
    missing: missingBuild(ON_ETCD),
    async start(_upstream, folder) {
      const server = await launchGateway(etcd, prefix, folder);
      try {
        await untilReady(server.name, server.status);
      } catch (error) {
        await server.stop();
        throw error;
      }
      return server;
    },
  };
}

/** One that has only just begun to load. */
export async function launchGateway(
  etcd: string,
  prefix: string,
  folder: string,
): Promise<Server & { readonly status: string }> {
  const [gateway, status, control] = await Promise.all([freePort(), freePort(), freePort()]);
  const args = [join(ROOT, "bin/jotgate.mjs"), "gateway", "--etcd", etcd, "--workers", "1", "--prefix", prefix];
  args.push("--gateway-listen", `127.0.0.1:${gateway}`, "--status-listen", `127.0.0.1:${status}`);
  args.push("--control-listen", `127.0.0.1:${control}`, "--data-dir", join(folder, "data"));
  const server = await launch(ON_ETCD, SERVER_CORE, process.execPath, args, status);
  return { ...server, url: `http://127.0.0.1:${gateway}`, status: `http://127.0.0.1:${status}` };
}

/** Nothing between load and upstream: what the machine itself needs. */
export const NO_GATEWAY: ServerKind = {
  name: "no gateway",
  missing: () => undefined,
  start: async (upstream) => ({ name: "no gateway", url: upstream, pid: -1, stop: async () => {} }),
};

export const NGINX = nginx("nginx", "access_log off;", "");
export const NGINX_GZIP = nginx(
  "nginx gzip",
  "access_log off; gzip on; gzip_comp_level 1; gzip_min_length 20; gzip_proxied any; gzip_types application/json;",
  "",
);
export const NGINX_EQUAL = nginx(
  "nginx, equal features",
  `log_format j escape=json '{"t":"$msec","s":$status,"u":"$uri","rt":$request_time,"ut":"$upstream_response_time","id":"$request_id"}'; access_log FOLDER/access.log j buffer=64k;`,
  "proxy_set_header X-Request-Id $request_id; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Host $http_host; add_header X-Request-Id $request_id;",
);
export const HAPROXY = haproxy("haproxy", "");
export const HAPROXY_404 = haproxy("haproxy", "http-request deny deny_status 404 unless { path_beg /plain/ }");
export const HAPROXY_JWT = haproxy(
  "haproxy jwt_verify",
  `http-request deny deny_status 401 unless { http_auth_bearer,jwt_verify(HS256,"${SECRET}") 1 }
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }`,
);
export const FASTIFY_JWT = nodePeer("fastify + jwt + http-proxy", "fastify-jwt.mjs", "@fastify/jwt");
export const EXPRESS_GATEWAY = nodePeer("express-gateway", "express-gateway.mjs", "express-gateway");
export const FAST = jotgate("jotgate, fast lane", ["--workers", "1"]);
export const GENERAL = jotgate("jotgate, general lane", ["--workers", "1", "--fast-lane", "off"]);
/** Of the npm package `node`, where somebody has put it: `npm install --prefix bench/peers --no-save node@26`. */
export const FAST_NEWEST = jotgateAt(
  ROOT,
  join(ROOT, "bench/peers/node_modules/node/bin/node"),
  "jotgate, newest Node",
  ["--workers", "1"],
);

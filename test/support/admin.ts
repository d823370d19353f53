/**
 * An Admin API on an embedded store in a temporary folder, with the plugins that exist, and a client for it.
 */
import { request } from "node:http";
import { catalogOf } from "../../src/admin/plugin-catalog.ts";
import { type AdminOptions, openAdminServer } from "../../src/admin/server.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Plugin, PluginEntry } from "../../src/plugin/plugin.ts";
import { basicAuth } from "../../src/plugins/basic-auth.ts";
import { cors } from "../../src/plugins/cors.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { proxyRewrite } from "../../src/plugins/proxy-rewrite/proxy-rewrite.ts";
import { requestId } from "../../src/plugins/request-id.ts";
import { trafficSplit } from "../../src/plugins/traffic-split.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import type { Store } from "../../src/store/store.ts";
import { openTemporaryStore } from "./stores.ts";

export const ADMIN_KEY = "test-admin-key-0123456789";
export const VIEWER_KEY = "test-viewer-key-0123456789";

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
  readonly body: any;
}

export interface Call {
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** An object is sent as JSON, text and bytes as they are. */
  readonly body?: unknown;
  /** Sends without Content-Length. */
  readonly chunked?: boolean;
}

export interface AdminWorld {
  readonly store: Store;
  readonly port: number;
  /** @param path after `/apisix/admin`, or absolute when it starts with "//" */
  call(method: string, path: string, call?: Call): Promise<Reply>;
  close(): Promise<void>;
}

export type WorldOptions = Partial<AdminOptions> & { readonly plugins?: readonly (Plugin | PluginEntry)[] };

/** Without `store`, one of its own in a temporary folder, which goes with it. */
export async function openAdminWorld(options: WorldOptions = {}): Promise<AdminWorld> {
  const temporary = options.store ? undefined : await openTemporaryStore();
  const store = options.store ?? temporary?.store;
  if (!store) throw new Error("no store");
  const { plugins = PLUGINS, ...rest } = options;
  const server = await openAdminServer({ ...adminOptions(store, plugins), ...rest });
  const { port } = server.address;
  return {
    store,
    port,
    call: (method, path, call) => send(port, method, path, call ?? {}),
    async close() {
      await server.close();
      await temporary?.stop();
    },
  };
}

export const PLUGINS: readonly Plugin[] = [
  jwtAuth,
  keyAuth,
  basicAuth,
  cors,
  requestId,
  proxyRewrite,
  limitCount,
  trafficSplit,
];

function adminOptions(store: Store, plugins: readonly (Plugin | PluginEntry)[]): AdminOptions {
  return {
    store,
    catalog: catalogOf(openPluginRegistry(plugins), { compat: "default" }),
    prefix: "/apisix",
    keys: [
      { name: "ops", key: ADMIN_KEY, role: "admin" },
      { name: "eyes", key: VIEWER_KEY, role: "viewer" },
    ],
    listen: { host: "127.0.0.1", port: 0 },
    clock: systemClock,
    log: silentLog,
    serverHeader: "jotgate/test",
    compat: "default",
    allowList: [],
  };
}

export function send(port: number, method: string, path: string, call: Call): Promise<Reply> {
  const body =
    call.body === undefined || typeof call.body === "string" || call.body instanceof Uint8Array
      ? call.body
      : JSON.stringify(call.body);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries({ "X-API-KEY": ADMIN_KEY, ...call.headers })) {
    if (value !== undefined) headers[name] = value;
  }
  if (body !== undefined && !call.chunked) headers["Content-Length"] ??= String(Buffer.byteLength(body));
  return new Promise((resolve, reject) => {
    const url = path.startsWith("//") ? path.slice(1) : `/apisix/admin${path}`;
    const outgoing = request({ host: "127.0.0.1", port, method, path: url, headers, agent: false }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers as Record<string, string>,
          text,
          body: readJson(text),
        });
      });
    });
    outgoing.on("error", reject);
    if (body !== undefined) outgoing.write(body);
    outgoing.end();
  });
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

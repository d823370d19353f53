/**
 * Every plugin that a node has built in; adding one is a file and a line here.
 * Promise: the module of a plugin is loaded when a configuration first names it, before that configuration serves; who uses
 * no plugin loads none. It is loaded at once, because what is loaded in the meantime could not be told from what is missing.
 */
import { createRequire } from "node:module";
import { extname } from "node:path";
import { makeStringsFast } from "../base/v8-tuning.ts";
import type { Plugin, PluginEntry } from "../plugin/plugin.ts";

interface BuiltIn extends PluginEntry {
  /** Its path from here, without an extension. */
  readonly module: string;
}

type Known = Partial<Pick<PluginEntry, "hasCredential" | "hasApis">>;

/** `<name>.ts` */
const inFile = (name: string, priority: number, known?: Known): BuiltIn => builtIn(name, priority, name, known);
/** `<name>/<name>.ts` */
const inFolder = (name: string, priority: number, known?: Known): BuiltIn =>
  builtIn(name, priority, `${name}/${name}`, known);

export const PLUGINS: readonly BuiltIn[] = Object.freeze([
  inFolder("access-token", 2512, { hasCredential: true }),
  inFile("acl", 2410),
  inFile("api-breaker", 1005),
  inFile("attach-consumer-label", 2399),
  inFolder("authorization-server", 502, { hasApis: true }),
  inFolder("authz-casbin", 2560),
  inFile("basic-auth", 2520, { hasCredential: true }),
  inFolder("body-transformer", 1080),
  inFile("brotli", 996),
  inFile("client-control", 22_000),
  inFile("consumer-restriction", 2400),
  inFile("cors", 4000),
  inFile("csrf", 2980),
  inFile("echo", 412),
  inFile("error-page", 450),
  inFile("fault-injection", 11_000),
  inFile("file-logger", 399),
  inFile("forward-auth", 2002),
  inFile("gzip", 995),
  inFile("grpc-web", 505),
  inFile("hmac-auth", 2530, { hasCredential: true }),
  inFile("http-logger", 410),
  inFile("ip-restriction", 3000),
  inFile("jwe-decrypt", 2509, { hasCredential: true }),
  inFolder("jwt-auth", 2510, { hasCredential: true, hasApis: true }),
  inFile("key-auth", 2500, { hasCredential: true }),
  inFolder("ldap-auth", 2540, { hasCredential: true }),
  inFile("limit-conn", 1003),
  inFile("limit-count", 1002),
  inFile("limit-req", 1001),
  inFile("loki-logger", 414),
  inFile("mocking", 10_900),
  inFile("multi-auth", 2600),
  inFolder("oauth2-client", 2511, { hasCredential: true }),
  inFile("opa", 2001),
  inFolder("openid-connect", 2599),
  inFolder("opentelemetry", 12_009),
  inFolder("prometheus", 500, { hasApis: true }),
  inFolder("proxy-cache", 1085),
  inFolder("proxy-mirror", 1010),
  inFolder("proxy-rewrite", 1008),
  inFile("public-api", 501),
  inFile("real-ip", 23_000),
  inFile("redirect", 900),
  inFile("referer-restriction", 2990),
  inFile("request-id", 12_015),
  inFile("request-validation", 2800),
  inFile("response-rewrite", 899),
  inFile("syslog", 401),
  inFile("tcp-logger", 405),
  inFile("traffic-split", 966),
  inFile("ua-restriction", 2999),
  inFile("udp-logger", 400),
  inFile("uri-blocker", 2900),
  inFile("workflow", 1006),
]);

const EXTENSION = extname(import.meta.filename);
/** Node 22 before 22.12 requires no module of this kind. */
const { require_module: canRequire } = process.features as { readonly require_module?: boolean };

/**
 * All modules, where this is not compiled: who runs sources (tsx, vitest) loads what is required a second time, beside what is
 * imported. And where they cannot be required.
 */
const IMPORTED = EXTENSION === ".ts" || canRequire !== true ? await importAll() : undefined;

function builtIn(name: string, priority: number, module: string, known: Known = {}): BuiltIn {
  let loaded: Plugin | undefined;
  return Object.freeze({
    ...{ name, priority, module, hasCredential: false, hasApis: false, ...known },
    load() {
      loaded ??= loadModule(name, module);
      return loaded;
    },
  });
}

function loadModule(name: string, module: string): Plugin {
  const exported = IMPORTED?.get(module) ?? (createRequire(import.meta.url)(`./${module}${EXTENSION}`) as object);
  makeStringsFast();
  const found = Object.values(exported).find((one: { readonly name?: unknown } | undefined) => one?.name === name);
  if (found === undefined) throw new TypeError(`the module of the plugin ${name} does not export it`);
  return found as Plugin; // true: nothing else has the name of a plugin
}

async function importAll(): Promise<ReadonlyMap<string, object>> {
  const loading = PLUGINS.map(async ({ module }) => {
    const url = new URL(`./${module}${EXTENSION}`, import.meta.url).href;
    return [module, (await import(/* @vite-ignore */ url)) as object] as const;
  });
  return new Map(await Promise.all(loading));
}

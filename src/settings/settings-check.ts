/**
 * What must hold between settings: in any process, and for the role that one plays.
 * Promise: a setting that would be ignored, or that would open the cluster to anyone, stops the start with a sentence
 * that says what to do. Messages hold no secret.
 */
import { type Address, formatAddress, isLoopback } from "./setting-kinds.ts";
import type { Settings } from "./settings-schema.ts";

/** What a process is: everything on one machine, one admin node, or one gateway node. */
export type Role = "all" | "admin" | "gateway";

/** Keys that every APISIX 3.9 and older was shipped with: anyone knows them. */
const FAMOUS_KEYS = ["edd1c9f034335f136f87ad84b625c8f1", "4054f7cf07e344346cd3f287985e76a2"];

/** Paths of the status listener that metrics cannot have; `/metrics` is theirs. */
const STATUS_PATHS = ["/live", "/ready", "/status", "/status/ready", "/config", "/applied"];

/** Contradictions that are wrong in every role. @returns one sentence per problem */
export function checkSettings(settings: Settings): readonly string[] {
  const { etcd, admin, encryption } = settings;
  const problems: string[] = [];
  const pairs: readonly (readonly [string, unknown, string, unknown])[] = [
    ["etcd.user", etcd.user, "etcd.password", etcd.password],
    ["etcd.cert", etcd.cert, "etcd.key", etcd.key],
    ["admin.tls.cert", admin.tls.cert, "admin.tls.key", admin.tls.key],
  ];
  for (const [one, first, other, second] of pairs) {
    if ((first === undefined) !== (second === undefined)) {
      problems.push(first === undefined ? `${other} needs ${one} as well` : `${one} needs ${other} as well`);
    }
  }
  if (admin.tls.clientCa !== undefined && admin.tls.cert === undefined) {
    problems.push("admin.tls.client_ca needs admin.tls.cert and admin.tls.key as well");
  }
  if (etcd.hosts !== undefined && settings.file !== undefined) {
    problems.push("file and etcd.hosts: the configuration comes from one of them, take the other away");
  }
  if (etcd.hosts === undefined) {
    for (const name of ["user", "ca", "cert"] as const) {
      if (etcd[name] !== undefined) problems.push(`etcd.${name} has no effect without etcd.hosts (--etcd)`);
    }
  } else if (new Set(etcd.hosts.map((host) => new URL(host).protocol)).size > 1) {
    problems.push("etcd.hosts: all members must be http or all https");
  } else if (etcd.hosts.length === 0) problems.push("etcd.hosts: at least one member is needed");
  if (encryption.format === "aes-cbc" && encryption.keyring.some((key) => key.length !== 16 && key.length !== 32)) {
    problems.push("encryption.keyring: keys must have 16 or 32 characters when encryption.format is aes-cbc");
  }
  const { exportUri, defaultBuckets } = settings.prometheus;
  if (STATUS_PATHS.includes(exportUri))
    problems.push(`prometheus.export_uri: ${exportUri} is a path of the status listener`);
  if (
    defaultBuckets.length === 0 ||
    defaultBuckets.some((bound, at) => at > 0 && bound <= (defaultBuckets[at - 1] ?? 0))
  ) {
    problems.push("prometheus.default_buckets: the bounds must grow from one to the next");
  }
  return [...problems, ...checkKeys(settings)];
}

/** What a process needs to play its role. @returns one sentence per problem */
export function checkRole(role: Role, settings: Settings): readonly string[] {
  const { etcd, admin } = settings;
  if (role !== "all" && settings.file !== undefined) {
    return [`jotgate ${role} knows no file: only jotgate start --file serves from one`];
  }
  if (role !== "all" && etcd.hosts === undefined) {
    return [`jotgate ${role} needs --etcd (or JOTGATE_ETCD); only jotgate start runs on the embedded store`];
  }
  const problems = checkListeners(role, settings);
  const { listen, tls } = settings.gateway;
  if (role !== "admin" && !listen && !tls.listen) {
    problems.push("gateway.listen is off and so is gateway.tls.listen: one of them must serve");
  }
  if (role === "gateway") return problems;
  const keys = [admin.key, ...admin.keys.map(({ key }) => key)].filter((key) => key !== undefined);
  const hasAdmin = admin.key !== undefined || admin.keys.some((key) => key.role === "admin");
  if (etcd.hosts !== undefined && !hasAdmin) {
    problems.push("admin.key (--admin-key, JOTGATE_ADMIN_KEY) is needed with etcd: several admin nodes share it");
  }
  const open = [...keys, admin.viewerKey].some((key) => key !== undefined && FAMOUS_KEYS.includes(key));
  if (open && !isLoopback(admin.listen)) {
    problems.push(
      `an admin key that APISIX was shipped with is refused while admin.listen is ${formatAddress(admin.listen)}: everybody knows it`,
    );
  }
  if (!isLoopback(admin.listen)) {
    for (const { name, key } of namedKeys(settings)) {
      if (key === undefined || key.length >= KEY_LENGTH_LEAST) continue;
      const given = name === "admin" ? "admin.key" : name === "viewer" ? "admin.viewer_key" : `admin.keys: ${name}`;
      problems.push(
        `${given} has fewer than ${KEY_LENGTH_LEAST} characters, which is refused while admin.listen is ${formatAddress(admin.listen)}: make one by openssl rand -hex 16`,
      );
    }
  }
  return problems;
}

const KEY_LENGTH_LEAST = 16; // what others can reach, others can guess at

function namedKeys({ admin }: Settings): readonly { readonly name: string; readonly key: string | undefined }[] {
  return [{ name: "admin", key: admin.key }, { name: "viewer", key: admin.viewerKey }, ...admin.keys];
}

function checkKeys(settings: Settings): readonly string[] {
  const named = namedKeys(settings);
  const given = named.filter(({ key }) => key !== undefined);
  const problems: string[] = [];
  if (new Set(named.map(({ name }) => name)).size < named.length) {
    problems.push("admin.keys: names must differ from each other and from admin and viewer");
  }
  if (new Set(given.map(({ key }) => key)).size < given.length) {
    problems.push("admin.key, admin.viewer_key and admin.keys: no key may be given twice");
  }
  return problems;
}

/** Two listeners of one process on the same port would only fail later, with a worse message. */
function checkListeners(role: Role, settings: Settings): string[] {
  const { gateway, admin, status, control } = settings;
  const listeners: readonly (readonly [string, Address | undefined])[] = [
    ...(role === "admin"
      ? []
      : ([
          ["gateway.listen", gateway.listen],
          ["gateway.tls.listen", gateway.tls.listen],
        ] as const)),
    ...(role === "gateway" ? [] : ([["admin.listen", admin.listen]] as const)),
    ["status.listen", status.listen],
    ["control.listen", control.listen],
  ];
  const problems: string[] = [];
  for (const [at, [name, one]] of listeners.entries()) {
    for (const [otherName, other] of listeners.slice(at + 1)) {
      if (one && other && one.port !== 0 && one.port === other.port && overlaps(one.host, other.host)) {
        problems.push(`${name} and ${otherName} are both ${formatAddress(one)}`);
      }
    }
  }
  return problems;
}

function overlaps(one: string, other: string): boolean {
  const everywhere = ["0.0.0.0", "::"];
  return one === other || everywhere.includes(one) || everywhere.includes(other);
}

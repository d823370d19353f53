/**
 * Programs of others that verify our access tokens or ask for them, as child processes with configurations of their own:
 * libraries of npm (token-verifiers.mjs), Debian's Apache, HAProxy and Python. What is not installed is undefined.
 */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Issuer } from "./issuing-cluster.ts";
import { freePort } from "./ports.ts";
import { ROOT, type Running, run, temporaryFolder, until } from "./process.ts";

/** An API that lets good tokens in. */
export interface Api {
  readonly name: string;
  readonly origin: string;
  readonly path: string;
}

export interface Peer {
  readonly apis: readonly Api[];
  stop(): Promise<unknown>;
}

const APACHE = "/usr/sbin/apache2";
const MODULES = "/usr/lib/apache2/modules";
const HAPROXY = "/usr/sbin/haproxy";
const PYTHON = "/usr/bin/python3";
const PYTHON_PACKAGES = "/usr/lib/python3/dist-packages";
const SCRIPT = join(ROOT, "test/support/python-peers.py");

export const hasApache = existsSync(APACHE) && existsSync(join(MODULES, "mod_oauth2.so"));
export const hasHaproxy = existsSync(HAPROXY);
const hasPython = (...packages: readonly string[]): boolean =>
  [PYTHON, ...packages.map((name) => join(PYTHON_PACKAGES, name))].every((path) => existsSync(path));
export const hasPyjwt = hasPython("jwt", "cryptography");
export const hasAuthlib = hasPython("authlib", "requests");

/** @param keptSeconds how long they keep keys @param pauseSeconds between two fetches for an unknown key */
export async function startVerifiers(at: Issuer, keptSeconds: number, pauseSeconds: number): Promise<Peer> {
  const script = join(ROOT, "test/support/token-verifiers.mjs");
  const args = [at.issuer, at.jwksUri, at.audience, "ES256", String(keptSeconds), String(pauseSeconds)];
  const child = run(process.execPath, [script, ...args], { env: { NODE_EXTRA_CA_CERTS: at.authority } });
  const { port, names } = await firstLine<{ port: number; names: readonly string[] }>(child);
  const origin = `http://127.0.0.1:${port}`;
  return { apis: names.map((name) => ({ name, origin, path: `/${name}` })), stop: () => child.stop() };
}

export async function startPyjwt(at: Issuer): Promise<Peer> {
  const args = [SCRIPT, "verify", at.issuer, at.jwksUri, at.audience, "ES256"];
  const child = run(PYTHON, args, { env: { SSL_CERT_FILE: at.authority } });
  const { port } = await firstLine<{ port: number }>(child);
  return { apis: [{ name: "PyJWT", origin: `http://127.0.0.1:${port}`, path: "/" }], stop: () => child.stop() };
}

/** @param secret a file for `private_key_jwt` @returns what Authlib makes of the answer */
export async function askWithAuthlib(
  at: Issuer,
  tokenEndpoint: string,
  method: string,
  client: string,
  secret: string,
): Promise<Record<string, unknown>> {
  const child = run(PYTHON, [SCRIPT, "client", method, tokenEndpoint, client, secret], {
    env: { REQUESTS_CA_BUNDLE: at.authority },
  });
  await child.exited;
  return await firstLine(child);
}

/** Lets tokens in at `/bearer`, and those with a proof at `/dpop`. */
export async function startApache(at: Issuer): Promise<Peer> {
  const [folder, port] = [temporaryFolder("apache"), await freePort()];
  mkdirSync(join(folder, "pages"));
  const modules = ["mpm_event", "authn_core", "authz_core", "authz_user", "oauth2"];
  const place = (path: string, options: string): string[] => {
    writeFileSync(join(folder, "pages", path), "ok");
    return [
      ...[`<Location /${path}>`, "AuthType oauth2", "Require valid-user"],
      ...[`OAuth2TokenVerify jwks_uri ${at.jwksUri} jwks_uri.ssl_verify=false${options}`, "</Location>"],
    ];
  };
  const lines = [
    ...[`ServerRoot ${folder}`, `PidFile ${folder}/pid`, "ServerName localhost", `Listen 127.0.0.1:${port}`],
    ...modules.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`),
    ...[`ErrorLog ${folder}/errors`, `DocumentRoot ${folder}/pages`, "KeepAliveTimeout 600", "MaxKeepAliveRequests 0"],
    ...(process.getuid?.() === 0 ? ["User www-data", "Group www-data"] : []),
    ...place("bearer", ""),
    ...place("dpop", "&type=dpop"),
  ];
  writeFileSync(join(folder, "apache.conf"), `${lines.join("\n")}\n`);
  chmodSync(folder, 0o755); // its workers are of another user
  const child = run(APACHE, ["-DFOREGROUND", "-f", join(folder, "apache.conf")]);
  const origin = `http://localhost:${port}`;
  await listening(child, `http://127.0.0.1:${port}/bearer`);
  return { apis: [{ name: "mod_oauth2", origin, path: "/bearer" }], stop: () => child.stop() };
}

/** @param publicKey PEM: HAProxy fetches none */
export async function startHaproxy(publicKey: string, algorithm: string): Promise<Peer> {
  const [folder, port] = [temporaryFolder("haproxy"), await freePort()];
  const pem = join(folder, "public.pem");
  writeFileSync(pem, publicKey);
  writeFileSync(
    join(folder, "haproxy.cfg"),
    `defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend api
  bind 127.0.0.1:${port}
  http-request deny deny_status 401 unless { http_auth_bearer,jwt_verify("${algorithm}","${pem}") -m int 1 }
  http-request return status 200 content-type text/plain string ok
`,
  );
  const child = run(HAPROXY, ["-db", "-f", join(folder, "haproxy.cfg")]);
  const origin = `http://127.0.0.1:${port}`;
  await listening(child, origin);
  return { apis: [{ name: `haproxy ${algorithm}`, origin, path: "/" }], stop: () => child.stop("SIGKILL") };
}

async function firstLine<T>(child: Running): Promise<T> {
  const ended = (): boolean => child.child.exitCode !== null;
  await until("a line of the peer", () => ended() || child.output().includes("\n"));
  const line = child
    .output()
    .split("\n")
    .find((one) => one.startsWith("{"));
  if (line === undefined) throw new Error(child.output());
  return JSON.parse(line);
}

async function listening(child: Running, url: string): Promise<void> {
  const ended = (): boolean => child.child.exitCode !== null;
  await until(`${url} answers`, async () => ended() || (await fetch(url)).status > 0);
  if (ended()) throw new Error(child.output());
}

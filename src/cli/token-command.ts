/**
 * `jotgate token`: makes, reads, judges and ends access tokens from the command line, for operators and CI.
 * Promise: secrets come from the environment or from a pipe, never from arguments; nothing prints a token but `token new`.
 */
import { isMembers } from "../base/json/members.ts";
import { type AdminReply, askAdmin, askFor, DEFAULT_ADMIN } from "./admin-call.ts";
import { type CommandIo, EXIT_DONE, EXIT_FAILED, EXIT_USAGE } from "./command-io.ts";
import { explanationText } from "./explain-command.ts";

export const TOKEN_USAGE = `jotgate token new --client ID [--issuer URL | --server ID] [--scope 'a b'] [--audience A] … [--json]
  Gets a token as that client would, and prints it alone. JOTGATE_CLIENT_SECRET is its secret; else it is piped in.
  The issuer is --issuer, JOTGATE_ISSUER, or what the admin says of the only authorization server (or of --server).
  --endpoint URL is the token endpoint where the issuer's name does not lead to it.
jotgate token decode [TOKEN|-]
  Prints header and claims. Nothing is verified.
jotgate token check [TOKEN|-] --route ID [--at SECONDS] [--node ID] [--json]
  Says whether the route would take it and why. Ends with 1 where it would not.
jotgate token revoke [TOKEN|-] [--reason TEXT]
  Ends it on all nodes.
  TOKEN is -, or left out, for JOTGATE_TOKEN, else what is piped in; arguments are seen in lists of processes.
  --admin is ${DEFAULT_ADMIN} by default; JOTGATE_ADMIN_KEY is its key.`;

const VALUED = {
  new: ["client", "issuer", "server", "scope", "audience", "endpoint", "admin"],
  decode: [],
  check: ["route", "at", "node", "admin"],
  revoke: ["reason", "admin"],
} as const;
type Verb = keyof typeof VALUED;

interface Asked {
  readonly targets: readonly string[];
  readonly json: boolean;
  readonly admin: string;
  one(name: string): string | undefined;
  all(name: string): readonly string[];
}

/** What is wrong with how it was called. */
class Misused extends Error {}

const VERBS: Readonly<Record<Verb, (asked: Asked, io: CommandIo) => Promise<number>>> = {
  new: newToken,
  decode: decodeToken,
  check: checkToken,
  revoke: revokeToken,
};

export async function tokenCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const [verb = "", ...rest] = args;
  try {
    if (!isVerb(verb)) throw new Misused(verb === "" ? "token needs a verb" : `there is no jotgate token ${verb}`);
    return await VERBS[verb](readArguments(verb, rest), io);
  } catch (error) {
    if (!(error instanceof Misused)) throw error;
    io.complain(`${error.message}\n${TOKEN_USAGE}`);
    return EXIT_USAGE;
  }
}

function isVerb(text: string): text is Verb {
  return Object.hasOwn(VALUED, text);
}

function readArguments(verb: Verb, args: readonly string[]): Asked {
  const valued: readonly string[] = VALUED[verb];
  const found = new Map<string, string[]>();
  const targets: string[] = [];
  let json = false;
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? "";
    const [, name = "", joined] = /^--([a-z]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name === "json") json = true;
    else if (valued.includes(name)) {
      const value = joined ?? args[++at];
      if (value === undefined || value === "") throw new Misused(`--${name} needs a value`);
      found.set(name, [...(found.get(name) ?? []), value]);
    } else if (arg.startsWith("-") && arg !== "-") throw new Misused(`jotgate token ${verb} has no option ${arg}`);
    else targets.push(arg);
  }
  if (targets.length > (verb === "new" ? 0 : 1))
    throw new Misused(`jotgate token ${verb}: more was said than it reads`);
  const admin = found.get("admin")?.at(-1) ?? DEFAULT_ADMIN;
  for (const name of ["admin", "issuer", "endpoint"])
    for (const url of found.get(name) ?? [])
      if (!/^https?:/.test(url) || !URL.canParse(url)) throw new Misused(`--${name} must be a URL, not ${url}`);
  return { targets, json, admin, one: (name) => found.get(name)?.at(-1), all: (name) => found.get(name) ?? [] };
}

async function newToken(asked: Asked, io: CommandIo): Promise<number> {
  const client = asked.one("client");
  if (client === undefined) throw new Misused("jotgate token new needs --client");
  const secret = io.env["JOTGATE_CLIENT_SECRET"] || (await io.read?.());
  if (!secret) throw new Misused("JOTGATE_CLIENT_SECRET is not set, and no secret is piped in");
  const endpoint = asked.one("endpoint") ?? (await tokenEndpoint(asked, io));
  if (endpoint === undefined) return EXIT_FAILED;
  const scope = asked.one("scope");
  const form = new URLSearchParams({ grant_type: "client_credentials", ...(scope !== undefined && { scope }) });
  for (const audience of asked.all("audience")) form.append("audience", audience);
  // RFC 6749 section 2.3.1: both parts are form-encoded.
  const basic = [client, secret].map((part) => new URLSearchParams([["", part]]).toString().slice(1)).join(":");
  const headers = { authorization: `Basic ${Buffer.from(basic).toString("base64")}` };
  const answer = await askFor(new URL(endpoint), { method: "POST", headers, body: form }, io);
  if (answer === undefined) return EXIT_FAILED;
  if (typeof answer["access_token"] !== "string") {
    io.complain(`${endpoint} gives no access_token`);
    return EXIT_FAILED;
  }
  io.print(asked.json ? JSON.stringify(answer, undefined, 2) : answer["access_token"]);
  return EXIT_DONE;
}

async function tokenEndpoint(asked: Asked, io: CommandIo): Promise<string | undefined> {
  const issuer =
    asked.one("issuer") ?? (asked.one("server") ? undefined : io.env["JOTGATE_ISSUER"]) ?? (await ownIssuer(asked, io));
  if (issuer === undefined) return undefined;
  if (!URL.canParse(issuer)) throw new Misused(`the issuer ${issuer} is no URL`);
  const metadata = await askFor(new URL(`${issuer}/.well-known/openid-configuration`), {}, io);
  if (metadata === undefined) return undefined;
  const { issuer: named, token_endpoint: endpoint } = metadata;
  if (named === issuer && typeof endpoint === "string" && URL.canParse(endpoint)) return endpoint;
  // OpenID Connect Discovery 1.0 section 4.3: else somebody else's endpoint would get the secret.
  io.complain(named === issuer ? `${issuer} names no token_endpoint` : `${issuer} says that it is ${String(named)}`);
  return undefined;
}

async function ownIssuer(asked: Asked, io: CommandIo): Promise<string | undefined> {
  const wanted = asked.one("server");
  const answer = await askAdmin({ ...adminOf(asked, io), path: "authorization_servers" }, io);
  if (answer === undefined) return undefined;
  const records = (Array.isArray(answer["list"]) ? answer["list"] : []).map(
    (item: AdminReply) => item["value"] as AdminReply,
  );
  const fitting = records.filter(({ id }) => wanted === undefined || id === wanted);
  const [only, ...more] = fitting;
  if (only !== undefined && more.length === 0) return String(only["issuer"]);
  const ids = records.map(({ id }) => id).join(", ") || "none";
  io.complain(`say --server or --issuer: the authorization servers are ${ids}`);
  return undefined;
}

async function decodeToken(asked: Asked, io: CommandIo): Promise<number> {
  const parts = (await tokenIn(asked, io)).split(".");
  const [header, claims] = parts.slice(0, 2).map(readPart);
  if (parts.length !== 3 || header === undefined || claims === undefined) {
    io.complain("this is no JWT: three parts, parted by dots, the first two JSON in base64url");
    return EXIT_FAILED;
  }
  const times = ["iat", "nbf", "exp"].flatMap((name) => {
    const value = claims[name];
    return typeof value === "number" && Math.abs(value) < 8.64e12
      ? [[name, new Date(value * 1_000).toISOString()]]
      : [];
  });
  io.print(
    JSON.stringify({ header, claims, ...(times.length > 0 && { times: Object.fromEntries(times) }) }, undefined, 2),
  );
  io.complain("nothing was verified: jotgate token check asks a node");
  return EXIT_DONE;
}

function readPart(part: string): AdminReply | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return isMembers(value) ? (value as AdminReply) : undefined;
  } catch {
    return undefined;
  }
}

async function checkToken(asked: Asked, io: CommandIo): Promise<number> {
  const [route, at, node] = [asked.one("route"), asked.one("at"), asked.one("node")];
  if (route === undefined) throw new Misused("jotgate token check needs --route: a token is judged where it is shown");
  const call = adminOf(asked, io);
  const token = await tokenIn(asked, io);
  const body = { token, route, ...(at !== undefined && { at: Number(at) }), ...(node !== undefined && { node }) };
  const answer = await askAdmin({ ...call, path: "explain", body }, io);
  if (answer === undefined) return EXIT_FAILED;
  io.print(asked.json ? JSON.stringify(answer, undefined, 2) : explanationText(answer));
  return answer["verdict"] === "forwarded" ? EXIT_DONE : EXIT_FAILED;
}

async function revokeToken(asked: Asked, io: CommandIo): Promise<number> {
  const reason = asked.one("reason");
  const call = adminOf(asked, io);
  const body = { token: await tokenIn(asked, io), ...(reason !== undefined && { reason }) };
  const answer = await askAdmin({ ...call, path: "revocations?wait=all", body }, io);
  if (answer === undefined) return EXIT_FAILED;
  const namesOf = (name: string): string => (Array.isArray(answer[name]) ? answer[name] : []).join(", ");
  io.print(`revoked at revision ${answer["revision"]}; applied by ${namesOf("applied") || "no node"}`);
  const waiting = namesOf("waiting");
  if (waiting === "") return EXIT_DONE;
  io.complain(`not yet applied by ${waiting}: they will as soon as they can`);
  return EXIT_FAILED;
}

function adminOf({ admin }: Asked, io: CommandIo): { readonly admin: string; readonly key: string } {
  const key = io.env["JOTGATE_ADMIN_KEY"];
  if (!key) throw new Misused("JOTGATE_ADMIN_KEY is not set");
  return { admin, key };
}

async function tokenIn({ targets: [target] }: Asked, io: CommandIo): Promise<string> {
  const token = target === undefined || target === "-" ? io.env["JOTGATE_TOKEN"] || (await io.read?.()) : target;
  if (!token) throw new Misused("there is no token: name it, pipe it in, or set JOTGATE_TOKEN");
  return token.trim();
}

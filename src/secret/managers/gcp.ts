/**
 * Google Cloud Secret Manager: `$secret://gcp/<id>/<name>[/<member of its JSON>]`, as a service account.
 * Promise: one access token serves until a minute before its end. Source: docs/spec/secrets.md section 4.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { CodedError, messageOf } from "../../base/errors.ts";
import { isMembers } from "../../base/json/members.ts";
import type { GcpSecret } from "../../model/secret.ts";
import { foundIn, type ManagerTools, parseDocument, type Reading, type SecretManager } from "./reading.ts";

const TOKEN_URI = "https://oauth2.googleapis.com/token";
const ENTRIES_URI = "https://secretmanager.googleapis.com/v1";
const SCOPE = "https://www.googleapis.com/auth/cloud-platform";
const ASSERTION_SECONDS = 3600;
/** A token this close to its end is fetched anew. */
const TOKEN_MARGIN_MS = 60_000;
const FAILED = "failed to retrtive data from gcp secret manager";

interface Account {
  readonly clientEmail: string;
  readonly privateKey: string;
  readonly projectId: string;
  readonly tokenUri: string;
  readonly scope: string;
  readonly entriesUri: string;
}

/**
 * Only who has this manager loads it; at once, because plugins that are loaded meanwhile may want it too. Node 22 before 22.12 requires
 * no module of this kind.
 */
async function loadJose(): Promise<typeof import("jose")> {
  const { require_module: canRequire } = process.features as { readonly require_module?: boolean };
  return canRequire ? (createRequire(import.meta.url)("jose") as typeof import("jose")) : import("jose");
}

export function openGcp(conf: GcpSecret, tools: ManagerTools): SecretManager {
  const verifyTls = conf.ssl_verify !== false;
  let account: Promise<Account> | undefined;
  let token: { readonly text: string; readonly untilMs: number } | undefined;
  let fetching: Promise<string> | undefined;

  const fetchToken = async (of: Account): Promise<string> => {
    const { importPKCS8, SignJWT } = await loadJose();
    const nowSeconds = Math.floor(tools.clock.nowMs() / 1000);
    const assertion = await new SignJWT({ scope: of.scope })
      .setProtectedHeader({ alg: "RS256", typ: "JWT" })
      .setIssuer(of.clientEmail)
      .setAudience(of.tokenUri)
      .setIssuedAt(nowSeconds)
      .setExpirationTime(nowSeconds + ASSERTION_SECONDS)
      .sign(await importPKCS8(of.privateKey, "RS256").catch(() => refuse("the private key cannot be read")));
    const answer = await tools.exchange({
      method: "POST",
      url: of.tokenUri,
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion }).toString(),
      verifyTls,
    });
    const document = parseDocument(answer.body);
    const text = isMembers(document) ? document["access_token"] : undefined;
    if (answer.status !== 200 || typeof text !== "string" || !isMembers(document)) {
      return refuse(`no access token, status ${answer.status}`);
    }
    const seconds = typeof document["expires_in"] === "number" ? document["expires_in"] : 0;
    token = { text, untilMs: tools.clock.monotonicMs() + seconds * 1000 - TOKEN_MARGIN_MS };
    return text;
  };

  const tokenOf = (of: Account): Promise<string> => {
    if (token && tools.clock.monotonicMs() < token.untilMs) return Promise.resolve(token.text);
    fetching ??= fetchToken(of).finally(() => {
      fetching = undefined;
    });
    return fetching;
  };

  const readName = async (name: string): Promise<Reading> => {
    account ??= readAccount(conf, tools);
    const of = await account.catch((error: unknown) => {
      account = undefined;
      throw error;
    });
    const path = `projects/${encodeURIComponent(of.projectId)}/secrets/${encodeURIComponent(name)}`;
    const answer = await tools.exchange({
      method: "GET",
      url: `${of.entriesUri}/${path}/versions/latest:access`,
      headers: { Authorization: `Bearer ${await tokenOf(of)}` },
      verifyTls,
    });
    if (answer.status === 401) token = undefined;
    const document = parseDocument(answer.body);
    const payload = isMembers(document) ? document["payload"] : undefined;
    const data = isMembers(payload) ? payload["data"] : undefined;
    if (answer.status === 200 && typeof data === "string") {
      return { kind: "found", value: Buffer.from(data, "base64").toString("utf8") };
    }
    return { kind: answer.status === 404 ? "absent" : "unavailable", why: `${FAILED}: status ${answer.status}` };
  };

  return {
    async read(key) {
      const cut = key.indexOf("/");
      const name = cut < 0 ? key : key.slice(0, cut);
      const field = cut < 0 ? "" : key.slice(cut + 1);
      try {
        const whole = await readName(name);
        if (whole.kind !== "found" || field === "") return whole;
        return foundIn(parseDocument(String(whole.value)), field);
      } catch (error) {
        return { kind: "unavailable", why: `${FAILED}: ${messageOf(error)}` };
      }
    },
  };
}

/** The service account of the record, or of the JSON file it names. */
async function readAccount(conf: GcpSecret, tools: ManagerTools): Promise<Account> {
  const source: unknown = conf.auth_config ?? (await readAccountFile(conf.auth_file ?? ""));
  if (!isMembers(source)) return refuse("the service account is not a JSON object");
  const { scope } = source;
  return {
    clientEmail: tools.resolveEnv(textOf(source, "client_email")),
    privateKey: tools.resolveEnv(textOf(source, "private_key")),
    projectId: textOf(source, "project_id"),
    tokenUri: textOf(source, "token_uri", TOKEN_URI),
    entriesUri: textOf(source, "entries_uri", ENTRIES_URI).replace(/\/+$/, ""),
    scope: Array.isArray(scope) ? scope.join(" ") : textOf(source, "scope", SCOPE),
  };
}

async function readAccountFile(path: string): Promise<unknown> {
  try {
    return parseDocument(await readFile(path));
  } catch {
    return refuse("auth_file cannot be read");
  }
}

function textOf(source: Readonly<Record<string, unknown>>, name: string, otherwise?: string): string {
  const value = source[name] ?? otherwise;
  return typeof value === "string" ? value : refuse(`the service account has no ${name}`);
}

function refuse(message: string): never {
  throw new CodedError("SECRET_UNRESOLVED", { message });
}

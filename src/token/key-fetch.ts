/**
 * One fetch of an issuer's keys: discovery where the record has no address of them, then the set.
 * Promise: bounded time and size, no redirects, no address that is denied; the record's bearer token goes to the
 * configured origin only; reasons hold no token and nothing an issuer could write at length.
 * Source: docs/spec/tokens.md section 2.
 */
import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { CodedError } from "../base/errors.ts";
import { KEY_PAIR_ALGORITHMS } from "../base/jose/algorithms.ts";
import { type JwkSet, readJwkSet } from "../base/jose/jwk.ts";
import { parseObject } from "../base/jose/token.ts";
import type { ExchangeAnswer, GuardedExchange } from "../base/net/guarded-exchange.ts";
import type { TokenIssuer } from "../model/token-issuer.ts";
import { fetchAddressError, fetchAddresses } from "../model/token-issuer-check.ts";
import { learnsIssuer, timeoutSeconds } from "./key-feed.ts";

export interface FetchedKeys {
  readonly jwks: string;
  readonly set: JwkSet;
  readonly from: string;
  readonly etag: string | undefined;
  /** Of the answer's Cache-Control; undefined: it says nothing. */
  readonly maxAgeSeconds: number | undefined;
  /** See `HeldKeys`. */
  readonly issuer: string | undefined;
}

/** What the last fetch gave, so that an unchanged set is not sent again. */
export interface KnownKeys {
  readonly from: string;
  readonly etag: string;
  readonly issuer: string | undefined;
}

/** @returns "not modified": what is known is still good @throws CodedError ISSUER_UNAVAILABLE with the reason */
export async function fetchKeys(
  record: TokenIssuer,
  exchange: GuardedExchange,
  known: KnownKeys | undefined,
): Promise<FetchedKeys | "not modified"> {
  const [first = ""] = addressesOf(record);
  const authorization = await bearerOf(record);
  const get = (url: string, etag?: string): Promise<ExchangeAnswer> =>
    exchange({
      method: "GET",
      url,
      headers: {
        Accept: "application/json, application/jwk-set+json",
        ...(authorization !== undefined && originOf(url) === originOf(first) && { Authorization: authorization }),
        ...(etag !== undefined && { "If-None-Match": etag }),
      },
      timeoutMs: timeoutSeconds(record) * 1_000,
      verifyTls: record.ssl_verify !== false,
      ca: record.ca,
    });
  const { from, issuer } = record.jwks_uri === undefined ? await discover(record, get) : { from: record.jwks_uri };
  if (record.public_key !== undefined) return fixedKey(record.public_key, first, issuer);
  const etag = known?.from === from && known.issuer === issuer ? known.etag : undefined;
  const answer = await get(from, etag);
  if (answer.status === 304 && etag !== undefined) return "not modified";
  if (answer.status !== 200) throw unavailable(`${hostOf(from)}: status ${answer.status} for the keys`);
  const set = readJwkSet(answer.body, new Set(record.algorithms ?? KEY_PAIR_ALGORITHMS));
  if (typeof set === "string") throw unavailable(`${hostOf(from)}: no good set of keys: ${set}`);
  return {
    ...{ set, from, issuer, jwks: answer.body.toString("utf8"), etag: answer.headers?.["etag"] },
    maxAgeSeconds: maxAgeOf(answer.headers?.["cache-control"]),
  };
}

/** The key that a configuration gives, whose owner the metadata names. */
function fixedKey(pem: string, from: string, issuer: string | undefined): FetchedKeys {
  const jwks = JSON.stringify({ keys: [createPublicKey(pem).export({ format: "jwk" })] });
  const set = readJwkSet(Buffer.from(jwks), new Set(KEY_PAIR_ALGORITHMS));
  if (typeof set === "string") throw unavailable(`public_key: ${set}`);
  return { jwks, set, from, issuer, etag: undefined, maxAgeSeconds: undefined };
}

/** Where to begin; a record that learns its name asks for metadata even where it brings its key. */
function addressesOf(record: TokenIssuer): readonly string[] {
  return learnsIssuer(record) && record.discovery !== undefined ? [record.discovery] : fetchAddresses(record);
}

interface Discovered {
  /** The address of the keys. */
  readonly from: string;
  /** Where the record does not say it. */
  readonly issuer?: string;
}

/** By the metadata of the issuer itself. */
async function discover(record: TokenIssuer, get: (url: string) => Promise<ExchangeAnswer>): Promise<Discovered> {
  const addresses = addressesOf(record);
  for (const [at, address] of addresses.entries()) {
    const answer = await get(address);
    if (answer.status === 404 && at < addresses.length - 1) continue;
    if (answer.status !== 200) throw unavailable(`${hostOf(address)}: status ${answer.status} for the metadata`);
    const document = parseObject(answer.body);
    if (!document) throw unavailable(`${hostOf(address)}: the metadata is no JSON object without repeated members`);
    const { issuer, jwks_uri: uri } = document;
    const learns = learnsIssuer(record);
    if (learns && (typeof issuer !== "string" || issuer === "" || issuer.length > ISSUER_MAX_CHARS))
      throw unavailable(`${hostOf(address)}: the metadata names no issuer`);
    // RFC 8414 section 3.3: whoever answers for another issuer is not asked for keys.
    if (!learns && issuer !== record.issuer) throw unavailable(`${hostOf(address)}: the metadata is of another issuer`);
    const named = learns ? { issuer: String(issuer) } : {};
    if (record.public_key !== undefined) return { from: address, ...named };
    if (typeof uri !== "string") throw unavailable(`${hostOf(address)}: the metadata has no jwks_uri`);
    const error = fetchAddressError(uri, "its jwks_uri", record.allow_http === true);
    if (error !== undefined) throw unavailable(`${hostOf(address)}: ${error}`);
    return { from: uri, ...named };
  }
  throw unavailable("no address to fetch from");
}

const ISSUER_MAX_CHARS = 2_048;
const TOKEN_MAX_CHARS = 16_384;

async function bearerOf({ bearer_token: token, bearer_token_file: file }: TokenIssuer): Promise<string | undefined> {
  if (file === undefined) return token && `Bearer ${token}`;
  let text: string;
  try {
    text = (await readFile(file, "utf8")).trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw unavailable(`bearer_token_file cannot be read on this node: ${code}`);
  }
  if (text.length > TOKEN_MAX_CHARS || !/^[!-~]+$/.test(text)) throw unavailable("bearer_token_file holds no token");
  return `Bearer ${text}`;
}

function maxAgeOf(cacheControl: string | undefined): number | undefined {
  const digits = /(?:^|[\s,])max-age="?(\d{1,10})/i.exec(cacheControl ?? "")?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : "";
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : "the issuer";
}

function unavailable(message: string): CodedError {
  return new CodedError("ISSUER_UNAVAILABLE", { message });
}

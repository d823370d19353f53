/**
 * One fetch of an issuer's keys: discovery where the record has no address of them, then the set.
 * Promise: bounded time and size, no redirects, no address that is denied; the record's bearer token goes to the
 * configured origin only; reasons hold no token and nothing an issuer could write at length.
 * Source: docs/spec/tokens.md section 2.
 */
import { readFile } from "node:fs/promises";
import { CodedError } from "../base/errors.ts";
import { KEY_PAIR_ALGORITHMS } from "../base/jose/algorithms.ts";
import { type JwkSet, readJwkSet } from "../base/jose/jwk.ts";
import { parseObject } from "../base/jose/token.ts";
import type { ExchangeAnswer, GuardedExchange } from "../base/net/guarded-exchange.ts";
import type { TokenIssuer } from "../model/token-issuer.ts";
import { fetchAddressError, fetchAddresses } from "../model/token-issuer-check.ts";
import { timeoutSeconds } from "./key-feed.ts";

export interface FetchedKeys {
  readonly jwks: string;
  readonly set: JwkSet;
  readonly from: string;
  readonly etag: string | undefined;
  /** Of the answer's Cache-Control; undefined: it says nothing. */
  readonly maxAgeSeconds: number | undefined;
}

/** What the last fetch gave, so that an unchanged set is not sent again. */
export interface KnownKeys {
  readonly from: string;
  readonly etag: string;
}

/** @returns "not modified": what is known is still good @throws CodedError ISSUER_UNAVAILABLE with the reason */
export async function fetchKeys(
  record: TokenIssuer,
  exchange: GuardedExchange,
  known: KnownKeys | undefined,
): Promise<FetchedKeys | "not modified"> {
  const [first = ""] = fetchAddresses(record);
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
  const from = record.jwks_uri ?? (await discover(record, get));
  const etag = known?.from === from ? known.etag : undefined;
  const answer = await get(from, etag);
  if (answer.status === 304 && etag !== undefined) return "not modified";
  if (answer.status !== 200) throw unavailable(`${hostOf(from)}: status ${answer.status} for the keys`);
  const set = readJwkSet(answer.body, new Set(record.algorithms ?? KEY_PAIR_ALGORITHMS));
  if (typeof set === "string") throw unavailable(`${hostOf(from)}: no good set of keys: ${set}`);
  return {
    ...{ set, from, jwks: answer.body.toString("utf8"), etag: answer.headers?.["etag"] },
    maxAgeSeconds: maxAgeOf(answer.headers?.["cache-control"]),
  };
}

/** The address of the keys, by the metadata of the issuer itself. */
async function discover(record: TokenIssuer, get: (url: string) => Promise<ExchangeAnswer>): Promise<string> {
  const addresses = fetchAddresses(record);
  for (const [at, address] of addresses.entries()) {
    const answer = await get(address);
    if (answer.status === 404 && at < addresses.length - 1) continue;
    if (answer.status !== 200) throw unavailable(`${hostOf(address)}: status ${answer.status} for the metadata`);
    const document = parseObject(answer.body);
    if (!document) throw unavailable(`${hostOf(address)}: the metadata is no JSON object without repeated members`);
    const { issuer, jwks_uri: uri } = document;
    // RFC 8414 section 3.3: whoever answers for another issuer is not asked for keys.
    if (issuer !== record.issuer) throw unavailable(`${hostOf(address)}: the metadata is of another issuer`);
    if (typeof uri !== "string") throw unavailable(`${hostOf(address)}: the metadata has no jwks_uri`);
    const error = fetchAddressError(uri, "its jwks_uri", record.allow_http === true);
    if (error !== undefined) throw unavailable(`${hostOf(address)}: ${error}`);
    return uri;
  }
  throw unavailable("no address to fetch from");
}

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

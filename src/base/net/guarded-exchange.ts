/**
 * One HTTP request that the gateway makes for itself, to a secret manager or an issuer of tokens, and its whole answer.
 * Promise: bounded time and size; redirects are answers, not instructions; certificates are verified; addresses of
 * the machine's own metadata services are never called, by name or by number (see METADATA_ADDRESSES).
 */
import { lookup } from "node:dns";
import {
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import type { Clock } from "../clock.ts";
import { CodedError, type ErrorCode, messageOf } from "../errors.ts";
import { makeDnsLookup } from "./dns-lookup.ts";
import { compileIpSet, type IpSet } from "./ip.ts";

interface ExchangeRequest {
  readonly method: "GET" | "POST";
  /** http or https. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Default: that of the options. */
  readonly timeoutMs?: number;
  /** Default true. */
  readonly verifyTls?: boolean;
  /** PEM of the only authorities that are trusted; default: the system's. */
  readonly ca?: string | undefined;
}

export interface ExchangeAnswer {
  readonly status: number;
  /** Names in lower case; of repeated ones the values joined. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly body: Buffer;
}

/** Throws CodedError of the code of the options; the text names host and cause, never headers or body. */
export type GuardedExchange = (request: ExchangeRequest) => Promise<ExchangeAnswer>;

interface ExchangeOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly answerBytes: number;
  /** Addresses and ranges that are not called. */
  readonly denied: readonly string[];
  /** Who is asked for names, as `dns.resolvers`; default: the system. */
  readonly nameServers?: readonly string[] | undefined;
  /** Ends every request under way. */
  readonly signal: AbortSignal;
  /** Connections are kept for the next request; default: each has its own. */
  readonly keep?: KeptConnections | undefined;
  /** Of the errors; default SECRET_UNRESOLVED. */
  readonly code?: ErrorCode;
}

interface KeptConnections {
  /** How long one is kept without use. */
  readonly idleMs: number;
  /** How many are. */
  readonly most: number;
}

export function openExchange(options: ExchangeOptions): GuardedExchange {
  const isDenied = compileIpSet(options.denied);
  const guarded = guardedLookup(options.nameServers, options.timeoutMs, isDenied);
  const code = options.code ?? "SECRET_UNRESOLVED";
  const agents = options.keep && openAgents(options.keep);
  return (request) =>
    new Promise((resolve, reject) => {
      const fail = (why: string): void => reject(new CodedError(code, { message: why }));
      const url = URL.canParse(request.url) ? new URL(request.url) : undefined;
      if (!url || (url.protocol !== "http:" && url.protocol !== "https:")) return fail("not an http or https address");
      if (url.username !== "" || url.password !== "") return fail("the address holds a user or password");
      const host = url.hostname.replace(/^\[|\]$/g, "");
      if (isIP(host) !== 0 && isDenied(host)) return fail(`address ${host} is not allowed`);
      try {
        const timeoutMs = request.timeoutMs ?? options.timeoutMs;
        const timer = options.clock.after(timeoutMs, () => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)));
        const failWith = (error: unknown): void => {
          timer.cancel();
          fail(`${url.host}: ${messageOf(error)}`);
        };
        const onAnswer = (answer: IncomingMessage): void => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          answer.on("data", (chunk: Buffer) => {
            bytes += chunk.length;
            if (bytes <= options.answerBytes) return void chunks.push(chunk);
            // At once: a short answer may already have ended when the socket is destroyed.
            failWith(new Error(`answer above ${options.answerBytes} bytes`));
            return void sent.destroy();
          });
          answer.on("error", failWith);
          answer.on("end", () => {
            timer.cancel();
            const { statusCode: status = 0, headers } = answer;
            resolve({ status, headers: oneEach(headers), body: Buffer.concat(chunks) });
          });
        };
        const begin = (over: Agents | undefined): ClientRequest => {
          const begun = send(url, request, guarded, options.signal, over);
          begun.on("response", onAnswer);
          begun.on("error", (error: NodeJS.ErrnoException) => {
            // Its server has closed a kept connection in the moment in which it was used.
            const wasClosed = begun.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
            if (wasClosed) sent = begin(undefined);
            else failWith(error);
          });
          return begun;
        };
        let sent = begin(agents);
      } catch (error) {
        // Node refuses header values with line breaks; its text names the header, not the value.
        fail(messageOf(error));
      }
    });
}

/** Of an answer's head. */
const HEAD_BYTES_MAX = 16_384;

interface Agents {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

/** They need no closing: what is not used ends after its time, and holds no process. */
function openAgents({ idleMs, most }: KeptConnections): Agents {
  const kept = { keepAlive: true, timeout: idleMs, maxFreeSockets: most };
  return { http: new HttpAgent(kept), https: new HttpsAgent(kept) };
}

function send(
  url: URL,
  request: ExchangeRequest,
  guarded: LookupFunction,
  signal: AbortSignal,
  agents: Agents | undefined,
): ClientRequest {
  const body = typeof request.body === "string" ? Buffer.from(request.body) : request.body;
  const headers = body === undefined ? request.headers : { ...request.headers, "Content-Length": String(body.length) };
  const options: RequestOptions = {
    ...{ method: request.method, headers, lookup: guarded, signal },
    ...{ insecureHTTPParser: false, maxHeaderSize: HEAD_BYTES_MAX }, // whatever NODE_OPTIONS says
  };
  const sent =
    url.protocol === "https:"
      ? requestHttps(url, {
          ...{ ...options, agent: agents?.https ?? false },
          ...{ rejectUnauthorized: request.verifyTls !== false, ca: request.ca },
        })
      : requestHttp(url, { ...options, agent: agents?.http ?? false });
  sent.end(body);
  return sent;
}

function oneEach(headers: IncomingHttpHeaders): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

/**
 * A look-up of names for Node's sockets that gives no address that is denied.
 * @param nameServers as `dns.resolvers`; none: the system is asked
 */
export function guardedLookup(nameServers: readonly string[] = [], timeoutMs: number, isDenied: IpSet): LookupFunction {
  return guardLookup(nameServers.length > 0 ? lookupBy(nameServers, timeoutMs) : lookup, isDenied);
}

/** Fails when any of the addresses is denied; the connection is made to these and no others. */
function guardLookup(find: LookupFunction, isDenied: IpSet): LookupFunction {
  return (hostname, options, callback) => {
    find(hostname, options, (error, found, family) => {
      if (error) return callback(error, found, family);
      const addresses = typeof found === "string" ? [found] : found.map(({ address }) => address);
      const denied = addresses.find(isDenied);
      if (denied === undefined) return callback(null, found, family);
      return callback(new Error(`address ${denied} is not allowed`), found, family);
    });
  };
}

function lookupBy(servers: readonly string[], timeoutMs: number): LookupFunction {
  const find = makeDnsLookup({ servers, timeoutMs });
  return (hostname, { all }, callback) => {
    find(hostname).then(
      ({ addresses }) => {
        const found = addresses.map((address) => ({ address, family: isIP(address) }));
        if (all === true) return callback(null, found);
        return callback(null, found[0]?.address ?? "", found[0]?.family);
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), []),
    );
  };
}

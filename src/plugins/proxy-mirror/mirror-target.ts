/**
 * Where copies of requests go: connections of their own, over HTTP/1.1, or HTTP/2 for gRPC.
 * Promise: so many copies are under way and no more, each with so many bytes in memory and for so long; a mirror that hangs, refuses
 * or is slow costs copies, which are counted, and nothing else. Metadata services of clouds are never called.
 */
import { type ClientRequest, Agent as HttpAgent, IncomingMessage, request as requestHttp } from "node:http";
import { type ClientHttp2Session, connect } from "node:http2";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { connect as connectTcp, isIP, type LookupFunction } from "node:net";
import type { Duplex, Readable, Writable } from "node:stream";
import { connect as connectTls } from "node:tls";
import { messageOf } from "../../base/errors.ts";
import { openLimitedWarn, type Warn } from "../../base/log.ts";
import type { Counter } from "../../base/metrics.ts";
import { guardedLookup } from "../../base/net/guarded-exchange.ts";
import { compileIpSet, METADATA_ADDRESSES } from "../../base/net/ip.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";

const UNDER_WAY_MAX = 128;
/** Of one copy, that the mirror has not taken. */
const WAITING_BYTES_MAX = 262_144;
const COPY_MS = 60_000;
const NAMES_MS = 5_000;
const ANSWER_BYTES_MAX = 1_048_576;
const IDLE_MS = 30_000;

/** What says something of one connection only, or is made anew. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

type Outcome = "sent" | "failed" | "dropped";
type Lines = Record<string, string | string[]>;

export class MirrorTarget {
  readonly #url: URL;
  readonly #env: NodeEnv;
  readonly #warn: Warn;
  readonly #results: Readonly<Record<Outcome, Counter>>;
  readonly #lookup: LookupFunction;
  readonly #isDenied: boolean;
  readonly #agent: HttpAgent | undefined;
  readonly #underWay = new Set<Writable>();
  #session: ClientHttp2Session | undefined;

  constructor(host: string, env: NodeEnv) {
    this.#env = env;
    this.#warn = openLimitedWarn(env.log, env.clock);
    // So that the URL's default ports are those of http.
    this.#url = new URL(host.replace(/^grpc/, "http"));
    const denied = compileIpSet(METADATA_ADDRESSES);
    const name = this.#hostname;
    this.#isDenied = isIP(name) !== 0 && denied(name);
    this.#lookup = guardedLookup(env.settings.nameServers, NAMES_MS, denied);
    const options = { keepAlive: true, maxSockets: UNDER_WAY_MAX, maxFreeSockets: 64, timeout: IDLE_MS };
    if (!host.startsWith("grpc")) this.#agent = this.#isTls ? new HttpsAgent(options) : new HttpAgent(options);
    const family = env.metrics.counter(
      "jotgate_mirrored_requests_total",
      "Copies of requests for proxy-mirror: answered by the mirror, failed, or dropped because too many or too much waited.",
      ["result"],
    );
    const result = (word: string): Counter => family.child(word);
    this.#results = { sent: result("sent"), failed: result("failed"), dropped: result("dropped") };
  }

  /** @param path with its query */
  mirror(view: RequestView, path: string): void {
    if (this.#underWay.size >= UNDER_WAY_MAX) {
      this.#results.dropped.inc();
      return;
    }
    try {
      if (this.#isDenied) throw new Error(`address ${this.#hostname} is not allowed`);
      this.#send(view, this.#agent ? this.#beginHttp1(view, path, this.#agent) : this.#beginHttp2(view, path));
    } catch (error) {
      // Node refuses what cannot stand in a head.
      this.#fail(error);
    }
  }

  close(): void {
    for (const copy of this.#underWay) copy.destroy();
    this.#agent?.destroy();
    this.#session?.destroy();
  }

  /** Follows a copy to its end, and the body into it. */
  #send(view: RequestView, copy: Writable): void {
    this.#underWay.add(copy);
    let outcome: Outcome | undefined;
    const timer = this.#env.clock.after(COPY_MS, () => copy.destroy(new Error(`no answer within ${COPY_MS} ms`)));
    copy.on("response", (answer: unknown) => {
      outcome ??= "sent";
      discard(answer instanceof IncomingMessage ? answer : (copy as Duplex)); // true: a stream of HTTP/2 is both
    });
    copy.on("error", (error) => {
      if (outcome === undefined) this.#fail(error);
      outcome ??= "failed";
    });
    copy.on("close", () => {
      timer.cancel();
      this.#underWay.delete(copy);
      if (outcome === undefined) outcome = "dropped";
      else if (outcome === "failed") return;
      this.#results[outcome].inc();
    });
    if (view.body.length === 0) {
      copy.end();
      return;
    }
    let isWhole = false;
    const drop = (): void => {
      outcome ??= "dropped";
      copy.destroy();
    };
    view.body.observe({
      write(piece) {
        if (copy.destroyed) return;
        if (copy.writableLength + piece.length > WAITING_BYTES_MAX && copy.writableLength > 0) drop();
        else copy.write(Buffer.from(piece)); // the lane may use its buffer again
      },
      end() {
        isWhole = true;
        if (!copy.destroyed) copy.end();
      },
      close() {
        if (!isWhole) drop();
      },
    });
  }

  #beginHttp1(view: RequestView, path: string, agent: HttpAgent): ClientRequest {
    const headers = headersOf(view);
    headers["Host"] = hostOf(view);
    const { length } = view.body;
    if (length === undefined) headers["Transfer-Encoding"] = "chunked";
    else if (length > 0) headers["Content-Length"] = String(length);
    const options = { ...{ method: view.method, path, headers, agent, lookup: this.#lookup }, setHost: false };
    const { hostname: host, port } = { hostname: this.#hostname, port: this.#url.port };
    return this.#isTls
      ? requestHttps({ ...options, host, port: port || 443, rejectUnauthorized: false, servername: nameOf(host) })
      : requestHttp({ ...options, host, port: port || 80 });
  }

  #beginHttp2(view: RequestView, path: string) {
    const headers: Lines = {};
    for (const [name, value] of Object.entries(headersOf(view))) headers[name.toLowerCase()] = value;
    if (view.header("te") === "trailers") headers["te"] = "trailers";
    return this.#connected().request(
      { ":method": view.method, ":path": path, ":authority": hostOf(view), ...headers },
      { endStream: false },
    );
  }

  #connected(): ClientHttp2Session {
    if (this.#session && !this.#session.closed && !this.#session.destroyed) return this.#session;
    const host = this.#hostname;
    const port = Number(this.#url.port) || (this.#isTls ? 443 : 80);
    const socket = this.#isTls
      ? connectTls({
          ...{ host, port, lookup: this.#lookup, ALPNProtocols: ["h2"], rejectUnauthorized: false },
          ...(nameOf(host) === "" ? {} : { servername: host }),
        })
      : connectTcp({ host, port, lookup: this.#lookup });
    const session = connect(this.#url.origin, { createConnection: () => socket });
    session.on("error", () => undefined); // its streams say so
    session.setTimeout(IDLE_MS, () => session.close());
    this.#session = session;
    return session;
  }

  #fail(error: unknown): void {
    this.#results.failed.inc();
    this.#warn({ mirror: this.#url.host, error: messageOf(error) }, "a request could not be mirrored");
  }

  get #isTls(): boolean {
    return this.#url.protocol === "https:";
  }

  get #hostname(): string {
    return this.#url.hostname.replace(/^\[|\]$/g, "");
  }
}

/** What is not read would hold the connection; an endless answer ends with the copy. */
function discard(answer: Readable): void {
  let bytes = 0;
  answer.on("error", () => undefined);
  answer.on("data", (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > ANSWER_BYTES_MAX) answer.destroy();
  });
}

/** As they go upstream at this moment. */
function headersOf({ clientAddress, headers: { lines } }: RequestView): Lines {
  const headers: Lines = {};
  for (let at = 0; at < lines.length; at += 2) {
    const name = lines[at] as string;
    const value = lines[at + 1] as string;
    if (LEFT_OUT.has(name.toLowerCase())) continue;
    const before = headers[name];
    headers[name] = before === undefined ? value : [before, value].flat();
  }
  headers["X-Real-IP"] = clientAddress;
  return headers;
}

function hostOf(view: RequestView): string {
  return view.upstreamHost ?? view.head.hostHeader;
}

/** Addresses are no server names. */
function nameOf(host: string): string {
  return isIP(host) === 0 ? host : "";
}

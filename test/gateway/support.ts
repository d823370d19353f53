/**
 * Hand-built routing, raw upstreams and raw clients for tests of the gateway floor: bytes in, bytes out.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";
import type { Routing } from "../../src/gateway/gateway-context.ts";
import { type GatewayServer, openGatewayServer } from "../../src/gateway/gateway-server.ts";
import type { GatewaySettings } from "../../src/gateway/gateway-settings.ts";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import type { Pipeline, Route, UpstreamChoice } from "../../src/runtime/routes/route-unit.ts";
import type {
  AttemptOutcome,
  Attempts,
  Target,
  Timeouts,
  UpstreamUnit,
} from "../../src/runtime/upstream/upstream-unit.ts";
import { patience } from "../support/long-run.ts";

export function pipelineOf(...plugins: PluginPhases[]): Pipeline {
  const defined = <T>(list: (T | undefined)[]): T[] => list.filter((item) => item !== undefined);
  return {
    plugins: [],
    rewrite: defined(plugins.map((plugin) => plugin.rewrite)),
    toConsumer: [],
    afterConsumer: defined(plugins.map((plugin) => plugin.rewrite)),
    access: defined(plugins.map((plugin) => plugin.access)),
    beforeProxy: defined(plugins.map((plugin) => plugin.beforeProxy)),
    headerFilter: defined(plugins.map((plugin) => plugin.headerFilter)),
    log: defined(plugins.map((plugin) => plugin.log)),
  };
}

export interface UpstreamInput {
  readonly passHost?: UpstreamUnit["passHost"];
  readonly upstreamHost?: string;
  readonly timeouts?: Partial<Timeouts>;
  readonly retries?: number;
  readonly pool?: Partial<UpstreamUnit["pool"]>;
  readonly scheme?: UpstreamUnit["scheme"];
  readonly tls?: UpstreamUnit["tls"];
  readonly http2?: boolean;
  readonly late?: boolean;
}

export interface TestUpstream extends UpstreamUnit {
  readonly outcomes: AttemptOutcome[];
}

let pools = 0;

/** Targets are tried in order, each request anew; a single target is tried again while retries are left. */
export function upstreamOf(ports: readonly number[], input: UpstreamInput = {}): TestUpstream {
  const targets: Target[] = ports.map((port) => ({
    id: `127.0.0.1:${port}`,
    host: "127.0.0.1",
    port,
    address: "127.0.0.1",
    hostHeader: `127.0.0.1:${port}`,
  }));
  const outcomes: AttemptOutcome[] = [];
  const retries = input.retries ?? ports.length - 1;
  const start = (): Attempts | undefined => {
    if (targets.length === 0) return undefined;
    const tried: Target[] = [];
    return {
      tried,
      next: () => {
        if (tried.length > retries) return undefined;
        const target = targets.length === 1 ? targets[0] : targets[tried.length];
        if (target) tried.push(target);
        return target;
      },
      nextAddress: () => undefined,
      mayRetry: () => (input.late ? "timeout" : tried.length <= retries ? "yes" : "exhausted"),
      report: (outcome) => void outcomes.push(outcome),
    };
  };
  return {
    id: "u",
    name: "",
    scheme: input.scheme ?? "http",
    http2: input.http2 ?? input.scheme?.startsWith("grpc") === true,
    passHost: input.passHost ?? "pass",
    upstreamHost: input.upstreamHost ?? "",
    timeouts: { connectMs: 2000, sendMs: 2000, readMs: 2000, ...input.timeouts },
    pool: { key: `pool ${++pools}`, size: 320, idleMs: 60_000, requests: 1000, ...input.pool },
    tls: input.tls,
    start,
    outcomes,
  };
}

export interface RouteInput {
  readonly upstream?: UpstreamUnit;
  readonly choice?: UpstreamChoice;
  readonly plugins?: readonly PluginPhases[];
  readonly websocket?: boolean;
  readonly matchedHost?: string;
  readonly timeouts?: Timeouts;
  readonly broken?: 404 | 503;
  readonly pipelineFor?: Route["pipelineFor"];
}

export function routeOf(id: string, input: RouteInput): Route {
  const pipeline = pipelineOf(...(input.plugins ?? []));
  const choice: UpstreamChoice =
    input.choice ?? (input.upstream ? { kind: "upstream", unit: input.upstream } : { kind: "none" });
  return {
    facts: { id, name: id, serviceId: "", serviceName: "", matchedUri: "", matchedHost: input.matchedHost ?? "" },
    timeouts: input.timeouts,
    websocket: input.websocket ?? false,
    broken: input.broken,
    pipeline,
    pipelineFor: input.pipelineFor ?? (() => pipeline),
    upstream: () => choice,
  };
}

/** Routes by the first path segment; "*" takes the rest. */
export function routingOf(routes: Readonly<Record<string, RouteInput>>, ...global: PluginPhases[]): Routing {
  const units = new Map(Object.entries(routes).map(([name, input]) => [name, routeOf(name, input)]));
  const pipeline = pipelineOf(...global);
  return {
    match: (view: RequestView) => {
      const unit = units.get(view.path.split("/")[1] ?? "") ?? units.get("*");
      return unit && { unit, facts: unit.facts };
    },
    globalPipeline: () => pipeline,
  };
}

export interface TestGateway extends GatewayServer {
  readonly port: number;
  /** The whole exposition text. */
  scrape(): Promise<string>;
}

export async function openTestGateway(
  routing: Routing,
  settings: Partial<GatewaySettings> = {},
  log = silentLog,
): Promise<TestGateway> {
  const metrics = openMetrics();
  const listen = { host: "127.0.0.1", port: 0 };
  const server = await openGatewayServer({ routing, listen, settings, metrics, clock: systemClock, log });
  return { ...server, port: server.address?.port ?? 0, scrape: () => metricsText(metrics) };
}

export interface RawUpstream {
  readonly port: number;
  /** Everything received, per connection, latin1. */
  readonly received: string[];
  /** Those on which something was received; whoever only knocks is a stranger. */
  readonly connections: number;
  /** Everything received on all connections, in order of arrival. */
  readonly all: string;
  /** Forgets what was received; kept connections go on being served from where they were. */
  clear(): void;
  close(): Promise<void>;
}

/** An upstream that speaks bytes. `serve` is called for each piece that arrives, with all of that connection so far. */
export function openRawUpstream(
  serve: (socket: Socket, seen: string, connection: number) => void,
): Promise<RawUpstream> {
  let received: string[] = [];
  let all = "";
  let opened = 0;
  let spoken = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: false }, (socket) => {
    const index = opened++;
    let seen = "";
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      if (seen === "") spoken++;
      received[index] = (received[index] ?? "") + text;
      all += text;
      seen += text;
      serve(socket, seen, index);
    });
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address ? address.port : 0;
      resolve({
        port,
        get received() {
          return received;
        },
        get connections() {
          return spoken;
        },
        get all() {
          return all;
        },
        clear: () => {
          received = [];
          all = "";
        },
        close: () =>
          new Promise((done) => {
            for (const socket of sockets) socket.destroy();
            server.close(() => done());
          }),
      });
    });
  });
}

/** Answers every complete request head (bodies by Content-Length) with the same bytes. */
export function answering(
  answer: string | ((request: string, count: number) => string),
): (socket: Socket, seen: string, connection: number) => void {
  const done = new WeakMap<Socket, { at: number; count: number }>();
  return (socket, seen) => {
    const state = done.get(socket) ?? { at: 0, count: 0 };
    done.set(socket, state);
    for (;;) {
      const end = seen.indexOf("\r\n\r\n", state.at);
      if (end < 0) return;
      const head = seen.slice(state.at, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (seen.length < end + 4 + length) return;
      const request = seen.slice(state.at, end + 4 + length);
      state.at = end + 4 + length;
      state.count++;
      socket.write(typeof answer === "string" ? answer : answer(request, state.count), "latin1");
    }
  };
}

export const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

export interface RawClient {
  readonly socket: Socket;
  readonly text: string;
  readonly closed: boolean;
  send(bytes: string | Buffer): void;
  /** Waits until the text received satisfies this, or the connection is closed. */
  until(done: (text: string) => boolean, withinMs?: number): Promise<string>;
  untilClosed(withinMs?: number): Promise<string>;
  close(): void;
}

export function openClient(port: number): Promise<RawClient> {
  return new Promise((resolve, reject) => {
    let text = "";
    let closed = false;
    const waiting = new Set<() => void>();
    const wake = (): void => {
      for (const check of [...waiting]) check();
    };
    const socket = connect({ host: "127.0.0.1", port, noDelay: true, allowHalfOpen: true });
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      wake();
    });
    const ended = (): void => {
      closed = true;
      wake();
    };
    socket.on("end", () => {
      ended();
      socket.end();
    });
    socket.on("close", ended);
    socket.on("error", (error) => {
      reject(error);
      ended();
    });
    const until = (done: (text: string) => boolean, withinMs = 5000): Promise<string> =>
      new Promise((found, failed) => {
        const bound = patience(withinMs);
        const timer = setTimeout(() => {
          waiting.delete(check);
          failed(new Error(`not within ${bound} ms; received ${JSON.stringify(text.slice(0, 2000))}`));
        }, bound);
        const check = (): void => {
          if (!done(text) && !closed) return;
          clearTimeout(timer);
          waiting.delete(check);
          found(text);
        };
        waiting.add(check);
        check();
      });
    const client: RawClient = {
      socket,
      get text() {
        return text;
      },
      get closed() {
        return closed;
      },
      send: (bytes) => void (typeof bytes === "string" ? socket.write(bytes, "latin1") : socket.write(bytes)),
      until,
      untilClosed: (withinMs) => until(() => false, withinMs),
      close: () => void socket.destroy(),
    };
    socket.on("connect", () => resolve(client));
  });
}

/** One connection: sends, waits until it is closed or the answer is complete, returns all that came. */
export async function send(port: number, bytes: string | Buffer, done?: (text: string) => boolean): Promise<string> {
  const client = await openClient(port);
  client.send(bytes);
  try {
    return await client.until(done ?? isComplete);
  } finally {
    client.close();
  }
}

/** Whether the text holds one complete response with Content-Length or chunked framing. */
export function isComplete(text: string): boolean {
  return cutResponse(text) !== undefined;
}

export interface RawResponse {
  readonly status: number;
  readonly head: string;
  /** Names in lower case; several values joined by ", ". */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Text after this response. */
  readonly rest: string;
}

/** The first complete response of a text; bodies of unknown length run to the end. */
export function cutResponse(text: string, bodiless = false): RawResponse | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = text.slice(0, end);
  const status = Number(head.slice(9, 12));
  const headers: Record<string, string> = {};
  for (const line of head.split("\r\n").slice(1)) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  const rest = text.slice(end + 4);
  if (bodiless || status === 204 || status === 304 || status < 200) return { status, head, headers, body: "", rest };
  if (headers["transfer-encoding"] === "chunked") {
    const decoded = cutChunked(rest);
    return decoded && { status, head, headers, ...decoded };
  }
  const length = headers["content-length"];
  if (length === undefined) return { status, head, headers, body: rest, rest: "" };
  if (rest.length < Number(length)) return undefined;
  return { status, head, headers, body: rest.slice(0, Number(length)), rest: rest.slice(Number(length)) };
}

function cutChunked(text: string): { body: string; rest: string } | undefined {
  let body = "";
  let at = 0;
  for (;;) {
    const line = text.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const size = Number.parseInt(text.slice(at, line), 16);
    if (text.length < line + 4 + size) return undefined;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
    if (size === 0) return { body, rest: text.slice(at) };
  }
}

/** The response to a request, which must be complete. */
export async function ask(port: number, bytes: string | Buffer): Promise<RawResponse> {
  const text = await send(port, bytes);
  const response = cutResponse(text);
  if (!response) throw new Error(`no complete response: ${JSON.stringify(text.slice(0, 2000))}`);
  return response;
}

/** Polls until the fact holds. */
export async function waitFor(holds: () => boolean | Promise<boolean>, withinMs = 5000): Promise<void> {
  const bound = patience(withinMs);
  const end = Date.now() + bound;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${bound} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

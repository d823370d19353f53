/** One client for every lane, HTTP/2 among them, and an upstream of Node's own: for what plugins do to responses. */
import {
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type RequestListener,
  request,
} from "node:http";
import { type ClientHttp2Session, connect } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll } from "vitest";
import { type Authority, openAuthority } from "../support/authority.ts";
import { type RouteInput, routingOf, type TestGateway } from "./support.ts";
import { openTlsGateway } from "./tls-support.ts";

export const EVERY_LANE = [
  { lane: "general lane", fastLane: false, http2: false },
  { lane: "fast lane", fastLane: true, http2: false },
  { lane: "HTTP/2", fastLane: true, http2: true },
] as const;

type Lane = (typeof EVERY_LANE)[number];

export interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

export interface Got {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The response had an end. */
  readonly complete: boolean;
}

/** A response that is still coming. */
export interface Coming {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** What came so far. */
  readonly seen: () => Buffer;
  /** Takes nothing more from the connection. */
  pause(): void;
  resume(): void;
  destroy(): void;
  readonly end: Promise<Got>;
}

export interface LaneClient {
  readonly gateway: TestGateway;
  ask(asked?: Asked): Promise<Got>;
  begin(asked?: Asked): Promise<Coming>;
}

/** Call it inside `describe`: what was opened is closed after its tests. */
export function openEveryLane(lane: Lane): { open(routes: Readonly<Record<string, RouteInput>>): Promise<LaneClient> } {
  const closing: (() => unknown)[] = [];
  let authority: Authority | undefined;
  beforeAll(() => {
    if (lane.http2) authority = openAuthority();
  });
  afterAll(async () => {
    for (const close of closing.reverse()) await close();
    authority?.close();
  });
  return {
    async open(routes) {
      const gateway = await openTlsGateway(routingOf(routes), { settings: { fastLane: lane.fastLane } });
      closing.push(() => gateway.close(0));
      if (!authority) return clientOf(gateway, (asked) => beginHttp1(gateway.port, asked));
      gateway.ssls.set("1", { ...authority.issue(["a.test"]), sni: "a.test" });
      const session = connect(`https://a.test:${gateway.tlsPort}`, {
        servername: "a.test",
        rejectUnauthorized: false,
        lookup: (_name, options, callback) => {
          if (options.all) callback(null, [{ address: "127.0.0.1", family: 4 }]);
          else callback(null, "127.0.0.1", 4);
        },
      });
      session.on("error", () => {});
      closing.push(() => session.destroy());
      return clientOf(gateway, (asked) => beginHttp2(session, asked));
    },
  };
}

function clientOf(gateway: TestGateway, begin: LaneClient["begin"]): LaneClient {
  return { gateway, begin, ask: async (asked) => (await begin(asked)).end };
}

function beginHttp1(port: number, { body, headers, method = "GET", path = "/x" }: Asked = {}): Promise<Coming> {
  return new Promise((resolve, reject) => {
    const sent = request({
      host: "127.0.0.1",
      port,
      method,
      path,
      headers: { Host: "a.test", ...headers },
      agent: false,
    });
    sent.on("error", reject);
    sent.on("response", (response) => {
      const status = response.statusCode ?? 0;
      const pieces: Buffer[] = [];
      const end = new Promise<Got>((done) => {
        const finish = (): void =>
          done({ status, headers: response.headers, body: Buffer.concat(pieces), complete: response.complete });
        response.on("data", (piece: Buffer) => pieces.push(piece));
        response.on("end", finish);
        response.on("error", finish);
        response.on("close", finish);
      });
      resolve({
        ...{ status, headers: response.headers, end },
        seen: () => Buffer.concat(pieces),
        pause: () => void response.pause(),
        resume: () => void response.resume(),
        destroy: () => void sent.destroy(),
      });
    });
    sent.end(body);
  });
}

function beginHttp2(
  session: ClientHttp2Session,
  { body, headers, method = "GET", path = "/x" }: Asked = {},
): Promise<Coming> {
  return new Promise((resolve, reject) => {
    const lower = Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
    const stream = session.request({ ":method": method, ":path": path, ...lower }, { endStream: body === undefined });
    if (body !== undefined) stream.end(body);
    const pieces: Buffer[] = [];
    let hasEnd = false;
    stream.on("error", reject);
    stream.on("response", (got) => {
      const status = Number(got[":status"]);
      const end = new Promise<Got>((done) => {
        stream.on("data", (piece: Buffer) => pieces.push(piece));
        stream.on("end", () => {
          hasEnd = true;
        });
        stream.on("close", () => {
          const complete = hasEnd && stream.rstCode === 0;
          done({ status, headers: got as IncomingHttpHeaders, body: Buffer.concat(pieces), complete });
        });
      });
      resolve({
        ...{ status, headers: got as IncomingHttpHeaders, end },
        seen: () => Buffer.concat(pieces),
        pause: () => void stream.pause(),
        resume: () => void stream.resume(),
        destroy: () => void stream.close(8),
      });
    });
  });
}

/** An upstream of Node's own. Call `close` at the end. */
export async function openNodeUpstream(serve: RequestListener): Promise<{ port: number; close(): void }> {
  const server = createServer(serve);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

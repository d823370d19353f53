/**
 * The traffic of the soak run: calls without and with tokens, good and bad ones, signing, uploads with and without a
 * length, chunked answers, and WebSockets that stay open. Every answer is judged by its content.
 */
import { createHash, createHmac } from "node:crypto";
import { createServer, type Server } from "node:http";
import { recordOf } from "../support/ledger.ts";
import type { LoadAnswer, LoadRequest } from "../support/load.ts";
import { openWebSocket, startWebSocketServer, type WebSocketServer } from "../support/websocket.ts";

const KEY = "soak-key";
const SECRET = "a-secret-of-the-soak-run-that-is-long-enough";
const UPLOAD = "u".repeat(60_000);
const UPLOAD_SUM = createHash("sha256").update(UPLOAD).digest("hex");
const CHUNKS = 20;

export interface Upstreams {
  readonly port: number;
  readonly webSockets: WebSocketServer;
  stop(): Promise<void>;
}

/** Answers GET with its path, in chunks where the path says so, and an upload with its digest. */
export async function startUpstreams(): Promise<Upstreams> {
  const server: Server = createServer((request, response) => {
    if (request.method === "POST") {
      const sum = createHash("sha256");
      request.on("data", (chunk) => sum.update(chunk));
      request.on("end", () => response.end(sum.digest("hex")));
      return;
    }
    request.resume();
    if (!request.url?.startsWith("/chunked/")) {
      response.end(request.url);
      return;
    }
    for (let i = 0; i < CHUNKS; i++) response.write(`${i} `.padEnd(2_000, "c"));
    response.end(request.url);
  });
  server.keepAliveTimeout = 600_000;
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  const webSockets = await startWebSocketServer();
  return {
    port: address !== null && typeof address === "object" ? address.port : 0,
    webSockets,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await webSockets.stop();
    },
  };
}

/** What the Admin API is told, path by path. */
export function records({ port, webSockets }: Upstreams): readonly (readonly [path: string, body: object])[] {
  const upstream = { type: "roundrobin", nodes: { [`127.0.0.1:${port}`]: 1 } };
  const tunnels = { type: "roundrobin", nodes: { [`127.0.0.1:${webSockets.port}`]: 1 } };
  const jwt = { "jwt-auth": { key: KEY, secret: SECRET, algorithm: "HS256" } };
  return [
    ["/consumers", { username: "soak", plugins: jwt }],
    ["/routes/soak-plain", { uris: ["/plain/*", "/chunked/*", "/upload/*"], upstream }],
    ["/routes/soak-private", { uri: "/private/*", plugins: { "jwt-auth": {} }, upstream }],
    ["/routes/soak-sign", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } }],
    ["/routes/soak-mocked", recordOf("/mocked/*") as object],
    ["/routes/soak-tunnels", { uri: "/tunnel", enable_websocket: true, upstream: tunnels }],
  ];
}

function token(secret: string): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signing = `${part({ typ: "JWT", alg: "HS256" })}.${part({ key: KEY, exp: 4_000_000_000 })}`;
  return `${signing}.${createHmac("sha256", secret).update(signing).digest("base64url")}`;
}

const GOOD = `Bearer ${token(SECRET)}`;
const BAD = `Bearer ${token(`${SECRET}!`)}`;

interface Kind {
  readonly request: (n: number) => LoadRequest;
  /** Of the status and the whole body. */
  readonly isRight: (status: number, body: string, n: number) => boolean;
}

const path = (status: number, body: string, wanted: string): boolean => status === 200 && body === wanted;
const KINDS: readonly Kind[] = [
  { request: (n) => ({ path: `/plain/${n}` }), isRight: (status, body, n) => path(status, body, `/plain/${n}`) },
  {
    request: (n) => ({ path: `/private/${n}`, headers: { Authorization: GOOD } }),
    isRight: (status, body, n) => path(status, body, `/private/${n}`),
  },
  {
    request: (n) => ({ path: `/private/${n}`, headers: { Authorization: BAD } }),
    isRight: (status) => status === 401,
  },
  { request: (n) => ({ path: `/private/${n}` }), isRight: (status) => status === 401 },
  {
    request: () => ({ path: `/apisix/plugin/jwt/sign?key=${KEY}` }),
    isRight: (status, body) => status === 200 && body.split(".").length === 3,
  },
  {
    request: (n) => ({ method: "POST", path: `/upload/${n}`, body: UPLOAD }),
    isRight: (status, body) => path(status, body, UPLOAD_SUM),
  },
  {
    request: (n) => ({
      method: "POST",
      path: `/upload/${n}`,
      body: UPLOAD,
      headers: { "Transfer-Encoding": "chunked" },
      alone: true, // the fast lane hands its connection to the general one
    }),
    isRight: (status, body) => path(status, body, UPLOAD_SUM),
  },
  {
    request: (n) => ({ path: `/chunked/${n}` }),
    isRight: (status, body, n) =>
      status === 200 && body.length === CHUNKS * 2_000 + `/chunked/${n}`.length && body.endsWith(`c/chunked/${n}`),
  },
  { request: (n) => ({ path: `/mocked/${n}` }), isRight: (status, body) => path(status, body, "written") },
];

const kindOf = (n: number): Kind => KINDS[n % KINDS.length] as Kind;

export const requestOf = (n: number): LoadRequest => kindOf(n).request(n);

export function judge({ n, status, body }: LoadAnswer): string | undefined {
  if (kindOf(n).isRight(status, body, n)) return undefined;
  return `${requestOf(n).method ?? "GET"} ${requestOf(n).path}: ${status} ${body.slice(0, 100)}`;
}

export interface Tunnels {
  readonly echoes: number;
  readonly errors: readonly string[];
  /** Ends that were announced. */
  readonly excused: number;
  stop(): Promise<void>;
}

/** Keeps one tunnel open to each origin named, says something every second, and hears it again. */
export function openTunnels(
  origins: readonly string[],
  isExcused: (origin: string, fromMs: number, toMs: number) => boolean,
): Tunnels {
  const errors: string[] = [];
  let echoes = 0;
  let excused = 0;
  let stopped = false;
  const keep = async (origin: string, id: number): Promise<void> => {
    while (!stopped) {
      let client: Awaited<ReturnType<typeof openWebSocket>> | undefined;
      let heardMs = performance.now();
      try {
        client = await openWebSocket({ port: Number(new URL(origin).port), path: "/tunnel" });
        if (client.status !== 101) throw new Error(`answered ${client.status}: ${client.body().slice(0, 200)}`);
        for (let i = 0; !stopped; i++) {
          const said = `${id} ${i} ${"w".repeat(i % 3_000)}`;
          client.send(said);
          const heard = (await client.next(15_000)).payload.toString("utf8");
          if (heard !== said) throw new Error(`heard ${heard.slice(0, 40)}, not ${said.slice(0, 40)}`);
          echoes++;
          heardMs = performance.now();
          await new Promise((resolve) => setTimeout(resolve, 1_000));
        }
      } catch (error) {
        if (isExcused(origin, heardMs, performance.now())) excused++;
        else errors.push(`tunnel ${id} to ${origin}: ${String(error).slice(0, 300)}`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      } finally {
        client?.destroy();
      }
    }
  };
  const running = origins.map(keep);
  return {
    get echoes() {
      return echoes;
    },
    get excused() {
      return excused;
    },
    errors,
    async stop() {
      stopped = true;
      await Promise.all(running);
    },
  };
}

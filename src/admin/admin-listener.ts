/**
 * The Admin API's listener: Fastify with a hook that asks for the key, one place for what goes wrong, and routes that read
 * bodies as APISIX does. Promise: every path asks for a key, except OPTIONS and `HEAD /apisix/admin`, which carry no data, and
 * routes that say so: the console's files.
 * Source: docs/spec/admin-api.md sections 1 to 3.
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Server } from "node:https";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import replyFrom from "@fastify/reply-from";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { isCodedError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { limitConnections } from "../base/net/connection-limit.ts";
import type { Access } from "./access.ts";
import { parseBody, readBody } from "./admin-body.ts";
import type { AdminContext, AdminRequest } from "./admin-context.ts";
import { type Cors, openCors } from "./admin-cors.ts";
import { type AdminAnswer, errorAnswer, refuse } from "./admin-response.ts";
import { argumentsIn, pathOf, routedTarget, splitOnce } from "./request-target.ts";
import type { AdminRoute } from "./routes/admin-route.ts";
import { METHODS } from "./routes/admin-route.ts";
import { NODE_CLIENT, TO_NODE } from "./routes/node-routes.ts";
import type { StoreNews } from "./store-news.ts";
import { NO_OPTIONS } from "./write/write-options.ts";

/** What strangers may cost, with a key or without. */
interface AdminLimits {
  /** Until the head of a request is complete. */
  readonly headMs: number;
  /** A whole request, body included; admin bodies are small. */
  readonly requestMs: number;
  /** Open at a time; those beyond are closed at once. */
  readonly connections: number;
  /** Of one address. */
  readonly connectionsPerAddress: number;
}

/** PEM texts; with `clientCa`, clients must show a certificate signed by it. */
export interface AdminTls {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
}

export interface ListenerOptions {
  readonly log: Log;
  /** Value of `Server`. */
  readonly serverHeader: string;
  /** Whether CORS headers are sent, and to pages of which origins only; default: true, to all. */
  readonly cors?: boolean | readonly string[];
  /** Default: 10 s, 60 s, 1,024, 256. */
  readonly limits?: Partial<AdminLimits>;
  readonly tls?: AdminTls;
}

const BASE = "/apisix/admin";
const LIMITS: AdminLimits = { headMs: 10_000, requestMs: 60_000, connections: 1_024, connectionsPerAddress: 256 };
const HEAD_BYTES_MAX = 16_384;
const CHECK_MS = 250; // how late a connection may be found to have used up its time; Node's own default is 30 s

/** What the hook of access knows of a request; the endpoint gets it with parameters and body. */
type Asked = Omit<AdminRequest, "params" | "bytes" | "body">;

const ASKED = Symbol("asked");
/** Why the store or an endpoint failed, for the log. */
const CODE = Symbol("code");
const ID = Symbol("request id");
const ID_LENGTH_MAX = 128;
const NOTHING = Buffer.alloc(0);

declare module "fastify" {
  interface FastifyContextConfig {
    /** Whoever may reach the listener may ask. */
    withoutKey?: boolean;
  }
  interface FastifyRequest {
    [ASKED]?: Asked;
    [CODE]?: string;
    [ID]?: string;
  }
}

/** Opens nothing yet: routes come first. @throws what Fastify says of bad TLS texts */
export function makeListener(options: ListenerOptions, access: Access, news: StoreNews): FastifyInstance {
  const { log, tls } = options;
  const limits: AdminLimits = { ...LIMITS, ...options.limits };
  const http = {
    headersTimeout: limits.headMs,
    connectionsCheckingInterval: CHECK_MS,
    ...{ maxHeaderSize: HEAD_BYTES_MAX, insecureHTTPParser: false }, // whatever NODE_OPTIONS says
  };
  const cors = openCors(options.cors ?? true);
  const fixed = { Server: options.serverHeader, "Content-Type": "application/json" };
  const admit = (request: FastifyRequest, reply: FastifyReply): FastifyReply | undefined => {
    if (request.routeOptions.config.withoutKey) {
      const barred = access.admitsAddress(request.raw.socket.remoteAddress ?? "");
      return barred && send(reply.headers(fixed), barred);
    }
    reply.headers(fixed).headers(cors.answer(request.headers.origin));
    const answer = identify(cors, access, request);
    return answer && send(reply, answer);
  };
  const common = {
    logger: false,
    exposeHeadRoutes: false,
    requestTimeout: limits.requestMs,
    routerOptions: { maxParamLength: 16_384 },
    rewriteUrl: (raw: IncomingMessage) => routedTarget(raw.url ?? ""),
    clientErrorHandler: refuseBytes,
    // Targets that Fastify's router cannot read go the way of all others: they too need a key.
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) =>
      void (admit(request, reply) ?? send(reply, NOT_FOUND)),
  } as const;
  const secure =
    tls &&
    ({
      ...contextOf(tls),
      ...(tls.clientCa !== undefined && { requestCert: true, rejectUnauthorized: true }),
      handshakeTimeout: limits.headMs,
      ...http,
    } as const);
  // True: the two differ in the type of the raw server only, which is not used here.
  const app = (secure
    ? fastify({ ...common, https: secure })
    : fastify({ ...common, http })) as unknown as FastifyInstance;
  app.server.maxConnections = limits.connections;
  limitConnections(app.server, limits.connectionsPerAddress);
  // Bodies are read by readBody, whatever type they are said to have.
  for (const method of METHODS) app.addHttpMethod(method, { hasBody: false, overrideExisting: true });
  app.register(replyFrom, NODE_CLIENT);
  app.decorateRequest(ASKED, undefined);
  app.decorateRequest(CODE, undefined);
  app.decorateRequest(ID, undefined);
  app.addHook("onRequest", async (request, reply) => admit(request, reply));
  app.addHook("onResponse", async (request, reply) => {
    const asked = request[ASKED];
    if (!asked || asked.method === "GET") return;
    const { actor, address, method, path } = asked;
    const about = { request_id: idOf(request), ...(request[CODE] !== undefined && { code: request[CODE] }) };
    log.info({ ...about, key: actor.name, address, method, path, status: reply.statusCode }, "admin write");
  });
  app.setNotFoundHandler((request, reply) => send(reply, nothingAt(request)));
  app.setErrorHandler((error, request, reply) => {
    const answer = errorAnswer(error);
    if (!isCodedError(error)) {
      const { method } = request;
      const about = { request_id: idOf(request), method, path: pathOf(request.originalUrl) };
      log.error({ ...about, error: messageOf(error) }, "admin request failed");
    } else {
      request[CODE] = error.code;
      if (answer.status === 503) news.failed(error);
    }
    send(reply, answer);
  });
  return app;
}

/** Puts one route under Fastify. @param strict bodies that two readers could read differently are refused */
export function serve(app: FastifyInstance, admin: AdminContext, route: AdminRoute, strict: boolean): void {
  const { endpoint, forward, method, reads, url } = route;
  app.route<{ Params: Record<string, string | undefined> }>({
    method,
    url: `${BASE}${url}`,
    handler: async (request, reply) => {
      const asked = request[ASKED] as Asked; // true: without it the hook has answered
      const read = reads === "nothing" ? undefined : await readBody(request.raw, route.maxBytes);
      if (read?.ok === false) return send(reply, read.refusal);
      const bytes = read?.bytes ?? NOTHING;
      const parsed = reads === "json" ? parseBody(bytes, strict) : { body: undefined };
      if ("refusal" in parsed) return send(reply, parsed.refusal);
      const wanted: AdminRequest = { ...asked, params: request.params, bytes, body: parsed.body };
      if (!forward) return send(reply, await endpoint(admin, wanted));
      const target = await forward(admin, wanted);
      return target instanceof URL ? reply.from(target.href, TO_NODE) : send(reply, target);
    },
  });
}

function contextOf({ cert, key, clientCa }: AdminTls): SecureContextOptions {
  return { cert, key, ...(clientCa !== undefined && { ca: clientCa }), minVersion: "TLSv1.2" };
}

/**
 * Other certificates for a listener that has some: for new connections; those that wait are closed.
 * @throws what OpenSSL says of bad texts. @returns what puts them in place; that cannot fail
 */
export function prepareTls(app: FastifyInstance, tls: AdminTls): () => void {
  const options = contextOf(tls);
  createSecureContext(options);
  return () => {
    const server = app.server as unknown as Server; // true: it was made with `https`
    server.setSecureContext(options);
    server.closeIdleConnections();
  };
}

const NOT_FOUND = refuse(404, "404 Not Found");

/** What no route takes: outside of the Admin API, or a resource that there is not. */
function nothingAt(request: FastifyRequest): AdminAnswer {
  const path = pathOf(request.originalUrl);
  const routed = (METHODS as readonly string[]).includes(request.method);
  if (!routed || !path.startsWith(`${BASE}/`)) return NOT_FOUND;
  const [resource = ""] = path.slice(BASE.length + 1).split("/");
  return refuse(404, `Unsupported resource type: ${decodeURIComponent(resource)}`); // the router has decoded it
}

/** What is no HTTP request at all has no key either. */
function refuseBytes(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  const [status, reason] = REFUSED_BYTES[error.code ?? ""] ?? [400, "Bad Request"];
  const body = `${JSON.stringify({ error_msg: `${status} ${reason}` })}\n`;
  const head = `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/json\r\nConnection: close`;
  if (socket.writable) socket.write(`${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  socket.destroy();
}

const REFUSED_BYTES: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, "Request Header Fields Too Large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "Request Timeout"],
};

/** The caller's id of a request if it is one word of printable ASCII, else one that is made. */
function idOf(request: FastifyRequest): string {
  const given = request.raw.headers["x-request-id"];
  request[ID] ??=
    typeof given === "string" && given.length <= ID_LENGTH_MAX && /^[!-~]+$/.test(given) ? given : randomUUID();
  return request[ID];
}

/** Remembers who asks for what. @returns an answer for those who get no further */
function identify(cors: Cors, access: Access, request: FastifyRequest): AdminAnswer | undefined {
  const { raw } = request;
  const address = raw.socket.remoteAddress ?? "";
  const barred = access.admitsAddress(address);
  if (barred) return barred;
  const { method } = request;
  const { originalUrl } = request;
  const path = pathOf(originalUrl);
  const preflight = method === "OPTIONS" ? cors.preflight(request.headers.origin) : undefined;
  if (preflight) return { status: 200, headers: preflight };
  if (method === "HEAD" && path === BASE) return { status: 200 };
  const args = argumentsIn(splitOnce(originalUrl, "?")[1]);
  const header = (name: string): string | undefined => {
    const value = raw.headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  const who = access.identify({ address, method, header, args });
  if ("refusal" in who) return who.refusal;
  request[ASKED] = { method, path, args, header, address, actor: who.actor, options: NO_OPTIONS };
  return undefined;
}

function send(reply: FastifyReply, answer: AdminAnswer): FastifyReply {
  reply.code(answer.status).headers(answer.headers ?? {});
  const { body } = answer;
  if (body === undefined) return reply.send(Buffer.alloc(0));
  if (typeof body === "string") return reply.send(Buffer.from(body, "utf8"));
  if (Symbol.asyncIterator in body) return reply.send(Readable.from(body));
  // Buffers, because a text or object would get a charset that APISIX does not send.
  return reply.send(Buffer.from(`${JSON.stringify(body)}\n`, "utf8"));
}

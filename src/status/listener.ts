/**
 * What the status and the control listener have in common: a small, bounded Fastify server for operators.
 * Promise: an error tells nothing of the inside; stopping ends open requests at once.
 */

import { isIP } from "node:net";
import { hostname } from "node:os";
import { type FastifyInstance, type FastifyReply, fastify } from "fastify";
import { limitConnections } from "../base/net/connection-limit.ts";
import type { Address } from "../settings/setting-kinds.ts";

const HEAD_BYTES_MAX = 8_192;
const BODY_BYTES_MAX = 1_024; // nothing here reads a body
const CONNECTIONS_MAX = 512; // scrapers, probes and long polls of other nodes
const CONNECTIONS_PER_ADDRESS = 128;
const HEAD_TIMEOUT_MS = 10_000;
const CHECK_MS = 1_000; // how late that is noticed; Node's own default is 30 s

export interface StatusListener {
  /** Where it listens, the port resolved. */
  readonly address: Address;
  stop(): Promise<void>;
}

/**
 * A server without routes; `notFound` is what an unknown path is told.
 * @param hosts Host names that are known beside those of every machine @param setting names where to add one
 */
export function createServer(notFound: object, hosts: readonly string[], setting: string): FastifyInstance {
  const server = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 256 },
    requestTimeout: HEAD_TIMEOUT_MS,
    // Errors before routing, such as a target that cannot be decoded.
    frameworkErrors: (_error, _request, reply) => {
      // True: a reply of whatever route types is a reply; Fastify's generic one cannot be written to.
      void (reply as unknown as FastifyReply).code(400).send({ error_msg: "bad request" });
    },
    http: {
      maxHeaderSize: HEAD_BYTES_MAX,
      insecureHTTPParser: false, // whatever NODE_OPTIONS says
      headersTimeout: HEAD_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_MS,
    },
  });
  server.server.maxConnections = CONNECTIONS_MAX;
  limitConnections(server.server, CONNECTIONS_PER_ADDRESS);
  const isKnown = knownHosts(hosts);
  const unknown = { error_msg: `this Host name is not one of the listener's: add it to ${setting} if it is` };
  server.addHook("onRequest", async (request, reply) =>
    isKnown(request.headers.host) ? undefined : reply.code(421).send(unknown),
  );
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", (_request, _payload, done) => done(null));
  server.setNotFoundHandler((_request, reply) => reply.code(404).send(notFound));
  server.setErrorHandler((error: { readonly statusCode?: number }, _request, reply) => {
    const status = error.statusCode ?? 500;
    return reply.code(status).send({ error_msg: status < 500 ? "bad request" : "internal error" });
  });
  return server;
}

/** Starts listening. Rejects with the system's error (EADDRINUSE, EACCES) when that is impossible. */
export async function listen(server: FastifyInstance, at: Address): Promise<StatusListener> {
  await server.listen({ host: at.host, port: at.port });
  const bound = server.server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : at.port;
  return { address: { host: at.host, port }, stop: () => server.close() };
}

/**
 * Which Host names a listener without keys answers to. A page in an operator's browser may have its own name resolve to this
 * machine (DNS rebinding); it cannot make the browser send another name, and no public name is among those known here.
 */

/**
 * Known are addresses, names without a dot, `localhost` and what ends in it, this machine's name, and those given.
 * @param names further ones, such as where other nodes reach the listener @returns whether a Host value is known
 */
export function knownHosts(names: readonly string[]): (host: string | undefined) => boolean {
  const known = new Set([hostname(), ...names].map((name) => name.toLowerCase()));
  return (value) => {
    if (value === undefined || value === "") return true; // HTTP/1.0: no browser leaves it out
    const host = nameIn(value.toLowerCase());
    return isIP(host) !== 0 || !host.includes(".") || host.endsWith(".localhost") || known.has(host);
  };
}

/** Without port, brackets and the dot of the root. */
function nameIn(value: string): string {
  if (value.startsWith("[")) return value.slice(1, value.indexOf("]"));
  const colon = value.indexOf(":");
  return (colon < 0 ? value : value.slice(0, colon)).replace(/\.$/, "");
}

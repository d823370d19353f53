/**
 * Takes connections of the TLS listener through their handshake: reads the server name, lets the certificate's record
 * do the rest, and gives the socket to whoever speaks the protocol that was agreed on.
 * Promise: a client that is slow, silent or talks nonsense costs one socket for `handshakeTimeoutMs` at most; no more than
 * `handshakes` are under way; every connection is counted under one result.
 */
import type { Socket } from "node:net";
import type { Server, TLSSocket } from "node:tls";
import type { Counter, Metrics } from "../../base/metrics.ts";
import { ClientConnection } from "../client-connection.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { Timed } from "../timer-wheel.ts";
import type { ServerCertificate } from "./server-certificate.ts";
import type { TlsCertificates } from "./tls-certificates.ts";
import {
  ALERT_DECODE_ERROR,
  ALERT_MISSING_EXTENSION,
  ALERT_UNRECOGNIZED_NAME,
  HELLO_BYTES_MAX,
  normaliseServerName,
  readClientHello,
} from "./tls-client-hello.ts";
import { readClient, TlsConnection } from "./tls-connection.ts";

/** Serves a connection whose handshake is done. */
type TlsHandOff = (socket: TLSSocket, connection: ClientConnection) => void;

interface TlsHandshakesOptions {
  readonly context: GatewayContext;
  readonly certificates: TlsCertificates;
  /** Assumed for clients that send no name. */
  readonly fallbackSni: string | undefined;
  readonly metrics: Metrics;
  readonly http1: TlsHandOff;
  readonly http2: TlsHandOff;
}

const RESULTS = ["ok", "failed", "broken", "no_name", "unknown_name", "timeout", "closed", "too_many"] as const;
type Result = (typeof RESULTS)[number];

export class TlsHandshakes {
  readonly #options: TlsHandshakesOptions;
  readonly #results: Readonly<Record<Result, Counter>>;
  /** By both ends' addresses: Node's TLS server tells of its own sockets only. */
  readonly #pending = new Map<string, Handshake>();
  /** Records whose events are listened to. */
  readonly #listened = new WeakSet<Server>();

  constructor(options: TlsHandshakesOptions) {
    this.#options = options;
    const family = options.metrics.counter("jotgate_tls_handshakes_total", "TLS handshakes by result.", ["result"]);
    // True: one child per member of RESULTS.
    this.#results = Object.fromEntries(RESULTS.map((result) => [result, family.child(result)])) as Record<
      Result,
      Counter
    >;
  }

  accept(socket: Socket): void {
    const { settings, wheel } = this.#options.context;
    const key = keyOf(socket);
    if (this.#pending.size >= settings.handshakes || this.#pending.has(key)) {
      this.#results.too_many.inc();
      socket.destroy();
      return;
    }
    const handshake = new Handshake(key, socket, this);
    this.#pending.set(key, handshake);
    wheel.arm(handshake, settings.handshakeTimeoutMs);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#end(handshake, "closed"));
    handshake.read();
  }

  /** The hello is complete. @param serverName as the client sent it, normalised */
  begin(handshake: Handshake, serverName: string | undefined): void {
    const { certificates, fallbackSni } = this.#options;
    const name = serverName ?? fallbackSni;
    if (name === undefined) {
      this.refuse(handshake, "no_name", ALERT_MISSING_EXTENSION);
      return;
    }
    const certificate = certificates.find(normaliseServerName(name));
    if (!certificate?.server) {
      this.refuse(handshake, "unknown_name", ALERT_UNRECOGNIZED_NAME);
      return;
    }
    handshake.serverName = serverName;
    handshake.name = normaliseServerName(name);
    this.#listen(certificate, certificate.server);
    handshake.socket.allowHalfOpen = false; // who leaves inside the handshake is gone
    certificate.server.emit("connection", handshake.socket);
  }

  /** @param last sent before the connection is closed */
  refuse(handshake: Handshake, result: Result, last: Buffer | string): void {
    const { socket } = handshake;
    this.#end(handshake, result);
    socket.end(last, () => socket.destroy());
  }

  timedOut(handshake: Handshake): void {
    this.#end(handshake, "timeout");
    handshake.socket.destroy();
  }

  #listen(certificate: ServerCertificate, server: Server): void {
    if (this.#listened.has(server)) return;
    this.#listened.add(server);
    server.on("secureConnection", (socket) => this.#secured(certificate, socket));
    server.on("tlsClientError", (_error, socket) => {
      const handshake = this.#pending.get(keyOf(socket));
      if (handshake) this.#end(handshake, "failed");
      socket.destroy();
    });
  }

  #secured(certificate: ServerCertificate, socket: TLSSocket): void {
    const handshake = this.#pending.get(keyOf(socket));
    const sentName = typeof socket.servername === "string" ? normaliseServerName(socket.servername) : undefined;
    if (!handshake || handshake.serverName !== sentName) {
      // The hello was read in two ways, so the certificate may be the wrong one.
      if (handshake) this.#end(handshake, "broken");
      socket.destroy();
      return;
    }
    this.#end(handshake, "ok");
    socket.disableRenegotiation();
    socket.allowHalfOpen = true; // as on the plain listener: who has sent a request may end its side
    const { certificates, context, http1, http2 } = this.#options;
    const client = readClient(socket, certificate.client !== undefined);
    const tls = new TlsConnection(certificates, handshake.name, client);
    const connection = new ClientConnection(socket, "https", context.settings, sentName, tls);
    if (socket.alpnProtocol === "h2") http2(socket, connection);
    else http1(socket, connection);
  }

  /** The first result counts. */
  #end(handshake: Handshake, result: Result): void {
    if (this.#pending.get(handshake.key) !== handshake) return;
    this.#pending.delete(handshake.key);
    this.#options.context.wheel.remove(handshake);
    this.#results[result].inc();
  }
}

/** Unique among open connections. */
function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

/** What somebody who speaks plain HTTP is sentName. */
const PLAIN_HTTP_BODY = '{"error_msg":"400 The plain HTTP request was sent to HTTPS port"}\n';
const PLAIN_HTTP =
  "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n" +
  `Content-Length: ${PLAIN_HTTP_BODY.length}\r\n\r\n${PLAIN_HTTP_BODY}`;

class Handshake extends Timed {
  readonly key: string;
  readonly socket: Socket;
  serverName: string | undefined = undefined;
  name = "";
  readonly #handshakes: TlsHandshakes;
  #held: Buffer | undefined;

  constructor(key: string, socket: Socket, handshakes: TlsHandshakes) {
    super();
    this.key = key;
    this.socket = socket;
    this.#handshakes = handshakes;
  }

  override onDeadline(): void {
    this.#handshakes.timedOut(this);
  }

  /** Collects until the hello is complete, then puts all bytes back. */
  read(): void {
    const { socket } = this;
    socket.on("readable", this.#readable);
    socket.on("end", this.#ended);
  }

  readonly #ended = (): void => {
    this.socket.destroy();
  };

  readonly #readable = (): void => {
    const { socket } = this;
    // True: no encoding is set.
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
      this.#held = this.#held ? Buffer.concat([this.#held, chunk]) : chunk;
    }
    const held = this.#held;
    if (!held || socket.destroyed) return;
    const hello = readClientHello(held);
    if (hello.kind === "incomplete" && held.length < HELLO_BYTES_MAX) return;
    socket.off("readable", this.#readable);
    socket.off("end", this.#ended);
    if (hello.kind !== "complete") {
      const isText = (held[0] as number) >= 0x41;
      this.#handshakes.refuse(this, "broken", isText ? PLAIN_HTTP : ALERT_DECODE_ERROR);
      return;
    }
    this.#held = undefined;
    socket.unshift(held);
    this.#handshakes.begin(this, hello.serverName);
  };
}

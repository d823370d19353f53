/**
 * Opens sockets to upstreams, plain or TLS, and feeds what they read to their connection.
 * Plain sockets read into one shared buffer, so a small response costs no allocation; a long body gets buffers of its own.
 */
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls, type SecureContext } from "node:tls";
import type { Lifetime } from "../http/message.ts";

interface TlsOptions {
  /** Server name sent and verified; an IP literal is verified but not sent (RFC 6066 section 3). */
  readonly serverName: string;
  readonly verify: boolean;
  readonly context: SecureContext;
}

export interface ConnectOptions {
  /** IP literal. */
  readonly address: string;
  readonly port: number;
  readonly tls: TlsOptions | undefined;
}

/** What a socket is opened for. */
export interface SocketUser {
  /** The socket is there and still connecting. */
  attach(socket: Socket): void;
  /** It is established, and its TLS verified. */
  opened(): void;
  received(chunk: Buffer, lifetime: Lifetime): void;
  /** Nothing can be sent any more; what the peer has said is still read. */
  writeFailed(message: string): void;
}

const READ_BYTES = 65_536;
/** All reads into it are looked at before the next one happens, whoever reads. */
const shared = Buffer.allocUnsafeSlow(READ_BYTES);
/** The beginning of `shared` that the last read filled: answers are often of one length. */
let part: Buffer = shared.subarray(0, 0);

export function openUpstreamSocket(options: ConnectOptions, connection: SocketUser): void {
  if (options.tls) openTls(options, options.tls, connection);
  else openPlain(options, connection);
}

function openPlain(options: ConnectOptions, connection: SocketUser): void {
  const socket = connectPlain({
    host: options.address,
    port: options.port,
    noDelay: true,
    onread: {
      buffer: shared,
      callback: (bytes, buffer) => {
        if (part.length !== bytes) part = (buffer as Buffer).subarray(0, bytes);
        connection.received(part, "call");
        return true;
      },
    },
  });
  readAfterFailedWrite(socket, connection);
  connection.attach(socket);
  socket.on("connect", () => connection.opened());
}

function openTls(options: ConnectOptions, tls: TlsOptions, connection: SocketUser): void {
  const socket = dialTls(options, tls, ["http/1.1"]);
  readAfterFailedWrite(socket, connection);
  connection.attach(socket);
  socket.on("secureConnect", () => connection.opened());
  socket.on("data", (chunk: Buffer) => connection.received(chunk, "kept"));
}

/** A socket that is still connecting. @param protocols agreed on by TLS */
export function connectUpstream(options: ConnectOptions, protocols: string[]): Socket {
  if (options.tls) return dialTls(options, options.tls, protocols);
  return connectPlain({ host: options.address, port: options.port, noDelay: true });
}

function dialTls(options: ConnectOptions, tls: TlsOptions, protocols: string[]): Socket {
  const socket = connectTls({
    host: options.address,
    port: options.port,
    secureContext: tls.context,
    rejectUnauthorized: tls.verify,
    ...(isIP(tls.serverName) === 0 ? { servername: tls.serverName } : {}),
    ALPNProtocols: protocols,
  });
  socket.setNoDelay(true);
  return socket;
}

/**
 * Node destroys a socket when a write fails, and with it what the peer has said and nobody has read yet. Here a failed
 * write is told to the connection, and reading goes on until the peer's end or its reset.
 */
function readAfterFailedWrite(socket: Socket, connection: SocketUser): void {
  const destroy = socket.destroy;
  socket.destroy = (error?: NodeJS.ErrnoException): Socket => {
    if (error?.syscall !== "write" || socket.readableEnded) return destroy.call(socket, error);
    connection.writeFailed(error.message);
    return socket;
  };
}

/** The certificate is for other names, or the server says that it has no such name (RFC 6066 section 3). */
export function isNameRefusal(code: string | undefined): boolean {
  return code === "ERR_TLS_CERT_ALTNAME_INVALID" || code === "ERR_SSL_TLSV1_UNRECOGNIZED_NAME";
}

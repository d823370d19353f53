/**
 * WebSocket (RFC 6455) on bare sockets, as little of it as the tests need: a client that sees every byte it is sent, and a
 * server that echoes. Fragments and extensions are not spoken.
 */
import { createHash, randomBytes } from "node:crypto";
import { connect, createServer, type Server, type Socket } from "node:net";
import { patience } from "./long-run.ts";

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

export interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** @param masked true for what a client sends */
export function encodeFrame(opcode: number, payload: Buffer, masked: boolean): Buffer {
  const { length } = payload;
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + extra + (masked ? 4 : 0));
  head[0] = 0x80 | opcode;
  head[1] = (masked ? 0x80 : 0) | (extra === 0 ? length : extra === 2 ? 126 : 127);
  if (extra === 2) head.writeUInt16BE(length, 2);
  if (extra === 8) head.writeBigUInt64BE(BigInt(length), 2);
  if (!masked) return Buffer.concat([head, payload]);
  const mask = randomBytes(4);
  mask.copy(head, 2 + extra);
  return Buffer.concat([head, xor(payload, mask)]);
}

function xor(payload: Buffer, mask: Buffer): Buffer {
  const result = Buffer.from(payload);
  for (let i = 0; i < result.length; i++) result[i] = (result[i] as number) ^ (mask[i & 3] as number);
  return result;
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #bytes: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Frame[] {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const frames: Frame[] = [];
    for (let frame = this.#take(); frame; frame = this.#take()) frames.push(frame);
    return frames;
  }

  #take(): Frame | undefined {
    const bytes = this.#bytes;
    if (bytes.length < 2) return undefined;
    const [first, second] = [bytes[0] as number, bytes[1] as number];
    const short = second & 0x7f;
    const extra = short < 126 ? 0 : short === 126 ? 2 : 8;
    const maskAt = 2 + extra;
    const dataAt = maskAt + ((second & 0x80) === 0 ? 0 : 4);
    if (bytes.length < dataAt) return undefined;
    const length = extra === 0 ? short : extra === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < dataAt + length) return undefined;
    const data = bytes.subarray(dataAt, dataAt + length);
    this.#bytes = bytes.subarray(dataAt + length);
    const payload = maskAt === dataAt ? Buffer.from(data) : xor(data, bytes.subarray(maskAt, dataAt));
    return { opcode: first & 0x0f, payload };
  }
}

export interface HandshakeOptions {
  readonly port: number;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent in one piece with the handshake. */
  readonly early?: Buffer;
}

export interface WebSocketClient {
  /** Of the answer to the handshake; 101 when it is a WebSocket now. */
  readonly status: number;
  /** Status line and headers. */
  readonly head: string;
  /** What came after the head of another answer than 101. */
  body(): string;
  readonly socket: Socket;
  send(payload: string | Buffer, opcode?: number): void;
  /** The next frame. Rejects when the connection ends before it, or after `withinMs`. */
  next(withinMs?: number): Promise<Frame>;
  /** Resolves when the peer has ended or reset the connection. */
  readonly ended: Promise<void>;
  destroy(): void;
}

/** Sends a handshake. Resolves with whatever answer comes; rejects when none does. */
export function openWebSocket(options: HandshakeOptions): Promise<WebSocketClient> {
  const key = randomBytes(16).toString("base64");
  let text = `GET ${options.path} HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`;
  text += `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n`;
  for (const [name, value] of Object.entries(options.headers ?? {})) text += `${name}: ${value}\r\n`;
  return new Promise((resolve, reject) => {
    const reader = new FrameReader();
    const frames: Frame[] = [];
    const waiting = new Set<() => void>();
    let bytes: Buffer = Buffer.alloc(0);
    let isOpen = false;
    let over = false;
    let tellEnd: () => void = () => {};
    const ended = new Promise<void>((ok) => {
      tellEnd = ok;
    });
    const socket = connect({ host: "127.0.0.1", port: options.port, noDelay: true, allowHalfOpen: true });
    const wake = (): void => {
      for (const one of [...waiting]) one();
    };
    const end = (): void => {
      over = true;
      tellEnd();
      wake();
      reject(new Error(`the connection ended in the handshake: ${bytes.toString("latin1").slice(0, 500)}`));
    };
    const receive = (chunk: Buffer): void => {
      if (isOpen) frames.push(...reader.push(chunk));
      else bytes = Buffer.concat([bytes, chunk]);
      wake();
    };
    const client = (head: string): WebSocketClient => ({
      ...{ head, socket, ended, status: Number(head.slice(9, 12)) },
      body: () => bytes.toString("utf8"),
      send: (payload, opcode = TEXT) => void socket.write(encodeFrame(opcode, Buffer.from(payload), true)),
      next: (withinMs = 5_000) =>
        new Promise((ok, fail) => {
          const bound = patience(withinMs);
          const late = setTimeout(() => settle(() => fail(new Error(`no frame within ${bound} ms`))), bound);
          const settle = (tell: () => void): void => {
            clearTimeout(late);
            waiting.delete(look);
            tell();
          };
          const look = (): void => {
            const frame = frames.shift();
            if (frame) settle(() => ok(frame));
            else if (over) settle(() => fail(new Error("the connection ended before the next frame")));
          };
          waiting.add(look);
          look();
        }),
      destroy: () => void socket.destroy(),
    });
    const readHead = (): void => {
      const at = bytes.indexOf("\r\n\r\n");
      if (at < 0) return;
      waiting.delete(readHead);
      const head = bytes.toString("latin1", 0, at);
      const rest = bytes.subarray(at + 4);
      bytes = rest;
      if (head.startsWith("HTTP/1.1 101 ")) {
        if (!head.toLowerCase().includes(`sec-websocket-accept: ${acceptOf(key).toLowerCase()}`)) {
          reject(new Error(`not the answer to this handshake: ${head}`));
          socket.destroy();
          return;
        }
        isOpen = true;
        frames.push(...reader.push(rest));
      }
      resolve(client(head));
    };
    waiting.add(readHead);
    socket.on("data", receive);
    socket.on("end", end);
    socket.on("close", end);
    socket.on("error", end);
    socket.write(Buffer.concat([Buffer.from(`${text}\r\n`, "latin1"), options.early ?? Buffer.alloc(0)]));
  });
}

/** What proves that the server has read the handshake (RFC 6455 section 4.2.2). */
function acceptOf(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

export interface WebSocketServer {
  readonly port: number;
  /** Heads of all handshakes and other requests. */
  readonly heads: readonly string[];
  /** Connections that have switched and are open. */
  readonly open: ReadonlySet<ServerSide>;
  stop(): Promise<void>;
}

export interface ServerSide {
  readonly head: string;
  readonly socket: Socket;
  send(payload: string | Buffer, opcode?: number): void;
}

/** @param onFrame what to do with a frame; sends it back by default */
export async function startWebSocketServer(
  onFrame: (frame: Frame, peer: ServerSide) => void = echo,
): Promise<WebSocketServer> {
  const heads: string[] = [];
  const open = new Set<ServerSide>();
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const reader = new FrameReader();
    let bytes: Buffer = Buffer.alloc(0);
    let peer: ServerSide | undefined;
    sockets.add(socket);
    socket.on("data", (chunk: Buffer) => {
      if (!peer) {
        bytes = Buffer.concat([bytes, chunk]);
        const at = bytes.indexOf("\r\n\r\n");
        if (at < 0) return;
        const head = bytes.toString("latin1", 0, at);
        chunk = bytes.subarray(at + 4);
        bytes = Buffer.alloc(0);
        heads.push(head);
        peer = answer(head, socket);
        if (!peer) return;
        open.add(peer);
      }
      for (const frame of reader.push(chunk)) onFrame(frame, peer);
    });
    socket.on("end", () => socket.end());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      if (peer) open.delete(peer);
    });
  });
  await new Promise<void>((ok) => server.listen({ port: 0, host: "127.0.0.1", backlog: 1024 }, ok));
  const address = server.address();
  return {
    ...{ heads, open, port: address !== null && typeof address === "object" ? address.port : 0 },
    stop: () =>
      new Promise((ok) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => ok());
      }),
  };
}

/** Switches where an upgrade is asked for; answers 200 with what it saw elsewhere. */
function answer(head: string, socket: Socket): ServerSide | undefined {
  const key = /^sec-websocket-key: *(\S+)/im.exec(head)?.[1];
  if (key === undefined || !/^upgrade: *websocket/im.test(head)) {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain`);
    return undefined;
  }
  const lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"];
  socket.write(`${lines.join("\r\n")}\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`);
  return {
    head,
    socket,
    send: (payload, opcode = TEXT) => void socket.write(encodeFrame(opcode, Buffer.from(payload), false)),
  };
}

function echo({ opcode, payload }: Frame, peer: ServerSide): void {
  if (opcode === CLOSE) peer.socket.end(encodeFrame(CLOSE, payload, false));
  else peer.send(payload, opcode === PING ? PONG : opcode);
}

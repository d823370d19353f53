/**
 * HTTP/2 as bytes, for clients that do what no library would: frames written by hand, frames read back.
 */
import { createServer, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block of literals without indexing and without Huffman coding (RFC 7541 section 6.2.2). */
export function headerBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, "latin1");
    if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    const length = [127];
    let rest = bytes.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
    return Buffer.concat([Buffer.from(length), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export interface FrameClient {
  readonly socket: TLSSocket;
  readonly frames: readonly Frame[];
  readonly closed: boolean;
  send(...frames: Buffer[]): void;
}

/** Connects, agrees on h2, sends the preface and an empty SETTINGS. */
export function openFrameClient(port: number, servername: string): Promise<FrameClient> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, servername, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    const frames: Frame[] = [];
    let held = Buffer.alloc(0);
    let closed = false;
    socket.on("error", reject);
    socket.on("close", () => {
      closed = true;
    });
    socket.on("data", (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 9) {
        const end = 9 + held.readUIntBE(0, 3);
        if (held.length < end) return;
        const [type = 0, flags = 0] = [held[3], held[4]];
        frames.push({ type, flags, stream: held.readUInt32BE(5), payload: Buffer.from(held.subarray(9, end)) });
        held = held.subarray(end);
      }
    });
    socket.on("secureConnect", () => {
      socket.write(Buffer.concat([PREFACE, frame(FRAME.SETTINGS, 0, 0)]));
      resolve({
        socket,
        frames,
        get closed() {
          return closed;
        },
        send: (...more) => void socket.write(Buffer.concat(more)),
      });
    });
  });
}

export interface FrameServerConnection {
  readonly socket: Socket;
  readonly frames: readonly Frame[];
  /** Which of all connections, from 0. */
  readonly index: number;
  send(...frames: Buffer[]): void;
}

export interface FrameServer {
  readonly port: number;
  readonly connections: readonly FrameServerConnection[];
  close(): Promise<void>;
}

/**
 * An upstream that speaks frames. It sends these SETTINGS and acknowledges its peer's; the rest is `serve`'s, which is
 * called for each frame.
 * @param settings "none": none are sent or acknowledged
 */
export function openFrameServer(
  serve: (frame: Frame, connection: FrameServerConnection) => void,
  settings: Buffer | "none" = Buffer.alloc(0),
): Promise<FrameServer> {
  const connections: FrameServerConnection[] = [];
  const server = createServer((socket) => {
    const frames: Frame[] = [];
    let held = Buffer.alloc(0);
    let greeted = false;
    const connection: FrameServerConnection = {
      socket,
      frames,
      index: connections.length,
      send: (...more) => void socket.write(Buffer.concat(more)),
    };
    connections.push(connection);
    socket.on("error", () => socket.destroy());
    if (settings !== "none") connection.send(frame(FRAME.SETTINGS, 0, 0, settings));
    socket.on("data", (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      if (!greeted && held.length >= PREFACE.length) {
        greeted = true;
        held = held.subarray(PREFACE.length);
      }
      while (greeted && held.length >= 9) {
        const end = 9 + held.readUIntBE(0, 3);
        if (held.length < end) return;
        const [type = 0, flags = 0] = [held[3], held[4]];
        const got = { type, flags, stream: held.readUInt32BE(5), payload: Buffer.from(held.subarray(9, end)) };
        held = held.subarray(end);
        frames.push(got);
        if (type === FRAME.SETTINGS && flags === 0 && settings !== "none")
          connection.send(frame(FRAME.SETTINGS, ACK, 0));
        serve(got, connection);
      }
    });
  });
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve({
        port: typeof address === "object" && address ? address.port : 0,
        connections,
        close: () =>
          new Promise((done) => {
            for (const { socket } of connections) socket.destroy();
            server.close(() => done());
          }),
      });
    }),
  );
}

/** HEADERS and DATA of a whole answer. */
export function answerFrames(stream: number, body = "ok", fields: readonly (readonly [string, string])[] = []): Buffer {
  return Buffer.concat([
    frame(FRAME.HEADERS, END_HEADERS, stream, headerBlock([[":status", "200"], ...fields])),
    frame(FRAME.DATA, END_STREAM, stream, Buffer.from(body)),
  ]);
}

/** One entry of SETTINGS. */
export function setting(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt16BE(id, 0);
  bytes.writeUInt32BE(value, 2);
  return bytes;
}

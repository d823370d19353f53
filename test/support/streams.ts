/**
 * Long bodies for tests of streaming: content that shows any loss or reordering by its hash, an upstream that takes and
 * gives such bodies, and clients that send and read them at will.
 */
import { createHash, randomBytes } from "node:crypto";
import { type ClientRequest, createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { Writable } from "node:stream";

const BLOCK_BYTES = 65_536;
const SOURCE = randomBytes(BLOCK_BYTES * 17); // 17: neighbours never repeat in step with a power of two

/** The block that stands at a place, cut to what is left. */
function blockAt(index: number, left: number): Buffer {
  const at = (index % 17) * BLOCK_BYTES;
  return SOURCE.subarray(at, at + Math.min(BLOCK_BYTES, left));
}

/** The hash of the first `bytes` of the content. */
export function hashOf(bytes: number): string {
  const hash = createHash("sha256");
  for (let index = 0, left = bytes; left > 0; index++, left -= BLOCK_BYTES) hash.update(blockAt(index, left));
  return hash.digest("hex");
}

/** Writes the content as fast as it is taken; ends early when the stream is closed. @param sent told after each block */
export function writeContent(to: Writable, bytes: number, sent: (total: number) => void = () => {}): Promise<void> {
  return new Promise((done) => {
    let total = 0;
    let index = 0;
    const go = (): void => {
      while (total < bytes && !to.destroyed) {
        const block = blockAt(index++, bytes - total);
        total += block.length;
        const flowing = to.write(block);
        sent(total);
        if (!flowing) return;
      }
      stop();
      if (!to.destroyed) to.end();
    };
    const stop = (): void => {
      to.off("drain", go);
      to.off("close", stop);
      done();
    };
    to.on("drain", go);
    to.on("close", stop);
    go();
  });
}

export interface Read {
  readonly bytes: number;
  readonly hash: string;
}

export interface StreamUpstream {
  readonly port: number;
  /** Bytes of the latest upload read so far. */
  readonly taken: number;
  /** Bytes of the latest download given so far. */
  readonly given: number;
  /** Requests that run. */
  readonly running: number;
  /** Requests whose connection broke before their end. */
  readonly broken: number;
  /** How the body of the latest upload was framed. */
  readonly framing: string;
  /** While held, bodies of uploads are not read. */
  hold(): void;
  release(): void;
  /** Breaks all connections. */
  cut(): void;
  stop(): Promise<void>;
}

/**
 * `POST /take`: answers `{bytes, hash}` of the body. `GET /give?bytes=N&framing=length|chunked`: the content.
 * `GET /events`: an event as soon as asked (see `nextEvent`).
 */
export async function startStreamUpstream(): Promise<StreamUpstream & { event(text: string): void }> {
  let [taken, given, running, broken] = [0, 0, 0, 0];
  let framing = "";
  let held = Promise.resolve();
  let release: () => void = () => {};
  const listeners = new Set<ServerResponse>();

  const take = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    framing = incoming.headers["transfer-encoding"] ?? incoming.headers["content-length"] ?? "none";
    const hash = createHash("sha256");
    taken = 0;
    for await (const chunk of incoming) {
      await held;
      taken += (chunk as Buffer).length;
      hash.update(chunk as Buffer);
    }
    response.end(JSON.stringify({ bytes: taken, hash: hash.digest("hex") }));
  };
  const give = (url: URL, response: ServerResponse): void => {
    const bytes = Number(url.searchParams.get("bytes"));
    if (url.searchParams.get("framing") === "length") response.setHeader("Content-Length", bytes);
    given = 0;
    void writeContent(response, bytes, (total) => {
      given = total;
    });
  };
  const server = createServer((incoming, response) => {
    running++;
    response.on("close", () => {
      running--;
      if (!response.writableFinished) broken++;
      listeners.delete(response);
    });
    const url = new URL(incoming.url ?? "", "http://upstream");
    if (url.pathname === "/take") take(incoming, response).catch(() => response.destroy());
    else if (url.pathname === "/give") give(url, response);
    else if (url.pathname === "/events") {
      response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
      response.flushHeaders();
      listeners.add(response);
    } else response.end("ok");
  });
  server.requestTimeout = 0;
  server.keepAliveTimeout = 600_000; // longer than any gateway keeps its connections
  await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
  const address = server.address();
  return {
    port: address !== null && typeof address === "object" ? address.port : 0,
    get taken() {
      return taken;
    },
    get given() {
      return given;
    },
    get running() {
      return running;
    },
    get broken() {
      return broken;
    },
    get framing() {
      return framing;
    },
    hold() {
      held = new Promise((ok) => {
        release = ok;
      });
    },
    release() {
      release();
    },
    event(text) {
      for (const response of listeners) response.write(`data: ${text}\n\n`);
    },
    cut: () => server.closeAllConnections(),
    stop: () =>
      new Promise((ok) => {
        server.closeAllConnections();
        server.close(() => ok());
      }),
  };
}

export interface Upload {
  readonly outgoing: ClientRequest;
  /** Bytes given to the socket so far. */
  sent(): number;
  /** What the upstream says it has read. */
  readonly answer: Promise<Read>;
}

/** @param framing `length` announces the size */
export function startUpload(url: string, bytes: number, framing: "length" | "chunked"): Upload {
  const headers = framing === "length" ? { "Content-Length": bytes } : { "Transfer-Encoding": "chunked" };
  const outgoing = request(url, { method: "POST", headers, agent: false });
  let sent = 0;
  const answer = new Promise<Read>((ok, fail) => {
    outgoing.on("error", fail);
    outgoing.on("response", (incoming) => {
      readText(incoming).then((text) => {
        if (incoming.statusCode === 200) ok(JSON.parse(text) as Read);
        else fail(new Error(`${incoming.statusCode}: ${text}`));
      }, fail);
    });
  });
  answer.catch(() => {}); // whoever aborts the upload does not wait for it
  void writeContent(outgoing, bytes, (total) => {
    sent = total;
  });
  return { outgoing, answer, sent: () => sent };
}

async function readText(incoming: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of incoming) text += String(chunk);
  return text;
}

/** Asks; resolves with the answer, whose body is not read yet. */
export function openDownload(url: string): Promise<IncomingMessage> {
  return new Promise((ok, fail) => {
    const outgoing = request(url, { agent: false });
    outgoing.on("error", fail);
    outgoing.on("response", ok);
    outgoing.end();
  });
}

/** Reads to the end. Rejects when the body breaks off. */
export async function readContent(incoming: IncomingMessage): Promise<Read> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of incoming) {
    bytes += (chunk as Buffer).length;
    hash.update(chunk as Buffer);
  }
  return { bytes, hash: hash.digest("hex") };
}

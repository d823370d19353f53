/**
 * A TCP relay between a client and a server of the test, that breaks things on demand.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Relay {
  /** `http://127.0.0.1:port` */
  readonly endpoint: string;
  /** How often a connection was cut because of its byte limit. */
  readonly cuts: number;
  /** From now on each connection is reset after this many bytes from the server; undefined: never. */
  cutAfter(bytes: (() => number) | undefined): void;
  /** Resets all connections now. */
  cut(): void;
  /** Connections are accepted and kept, but nothing passes any more, in either direction. */
  stall(): void;
  /** What the client sends passes, what the server answers is thrown away. */
  swallow(): void;
  /** From now on new connections are slow: so much later each way, so many bytes a second from the server; undefined: not. */
  trickle(pace: Pace | undefined): void;
  /** Refuses new connections and resets the present ones, until `heal`. */
  refuse(): void;
  /** Everything passes again; connections that lost bytes are reset. */
  heal(): void;
  stop(): Promise<void>;
}

export interface Pace {
  readonly delayMs: number;
  readonly bytesPerSecond: number;
}

type Mode = "pass" | "stall" | "swallow" | "refuse";

/** @param target `http://host:port` */
export async function startRelay(target: string): Promise<Relay> {
  const { hostname, port } = new URL(target);
  const pairs = new Set<readonly [Socket, Socket]>();
  let mode: Mode = "pass";
  let limit: (() => number) | undefined;
  let cuts = 0;
  let pace: Pace | undefined;

  const server = createServer((client) => {
    if (mode === "refuse") {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(Number(port), hostname);
    const pair = [client, upstream] as const;
    pairs.add(pair);
    const close = (): void => {
      pairs.delete(pair);
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    };
    let left = limit?.() ?? Number.POSITIVE_INFINITY;
    for (const socket of pair) socket.on("error", close).on("close", close);
    const [there, back] = [later(pace?.delayMs), later(pace?.delayMs, pace?.bytesPerSecond)];
    client.on("data", (data) => {
      if (mode !== "stall") there(data.length, () => upstream.write(data));
    });
    upstream.on("data", (data) => {
      if (mode !== "pass") return;
      if (pace !== undefined) {
        back(data.length, () => client.write(data));
        return;
      }
      if (data.length < left) {
        left -= data.length;
        client.write(data);
        return;
      }
      cuts++;
      client.write(data.subarray(0, left), close); // the bytes before the cut do arrive
      left = 0;
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const listening = typeof address === "object" && address !== null ? address.port : 0;
  const cut = (): void => {
    for (const [client, upstream] of pairs) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
    pairs.clear();
  };

  return {
    endpoint: `http://127.0.0.1:${listening}`,
    get cuts() {
      return cuts;
    },
    cutAfter: (bytes) => {
      limit = bytes;
    },
    cut,
    trickle: (given) => {
      pace = given;
    },
    stall: () => {
      mode = "stall";
    },
    swallow: () => {
      mode = "swallow";
    },
    refuse: () => {
      mode = "refuse";
      cut();
    },
    heal: () => {
      if (mode !== "pass") cut();
      mode = "pass";
    },
    async stop() {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}

/** Runs in order, each no sooner than its delay and what was sent before it allow. */
function later(delayMs = 0, bytesPerSecond = Number.POSITIVE_INFINITY): (bytes: number, run: () => void) => void {
  let freeMs = 0;
  return (bytes, run) => {
    if (delayMs === 0) {
      run();
      return;
    }
    freeMs = Math.max(freeMs, performance.now() + delayMs) + (bytes / bytesPerSecond) * 1_000;
    setTimeout(run, freeMs - performance.now());
  };
}

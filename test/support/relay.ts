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
  /** Refuses new connections and resets the present ones, until `heal`. */
  refuse(): void;
  /** Everything passes again; connections that lost bytes are reset. */
  heal(): void;
  stop(): Promise<void>;
}

type Mode = "pass" | "stall" | "swallow" | "refuse";

/** @param target `http://host:port` */
export async function startRelay(target: string): Promise<Relay> {
  const { hostname, port } = new URL(target);
  const pairs = new Set<readonly [Socket, Socket]>();
  let mode: Mode = "pass";
  let limit: (() => number) | undefined;
  let cuts = 0;

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
    client.on("data", (data) => {
      if (mode !== "stall") upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (mode !== "pass") return;
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

/**
 * A redis-server of a test's own: in memory, on a free port, ended by its id. Needs Debian's redis-server.
 */
import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { freePort } from "./ports.ts";
import { type Running, run, temporaryFolder, until } from "./process.ts";

const BINARY = "/usr/bin/redis-server";

export const hasRedis = existsSync(BINARY);

export interface RedisServer {
  readonly port: number;
  stop(): Promise<void>;
}

/**
 * @param port a fixed one, as when a server comes back
 * @param file a configuration file, which a sentinel must have
 */
export async function startRedis(port?: number, args: readonly string[] = [], file?: string): Promise<RedisServer> {
  const listen = port ?? (await freePort());
  const memory = file === undefined ? ["--save", "", "--appendonly", "no"] : [file];
  const place = ["--port", String(listen), "--bind", "127.0.0.1"];
  const server = run(BINARY, [...memory, ...place, ...args], { cwd: temporaryFolder("redis") });
  await until("redis-server answers", () => isListening(listen, server));
  return { port: listen, stop: async () => void (await server.stop()) };
}

function isListening(port: number, server: Running): Promise<boolean> {
  return new Promise((ok, fail) => {
    if (server.child.exitCode !== null) fail(new Error(server.output()));
    const socket = createConnection(port, "127.0.0.1");
    socket.on("error", () => ok(false));
    socket.on("connect", () => {
      socket.destroy();
      ok(true);
    });
  });
}

/** Sends one inline command and gives the first bytes of the answer. */
export function askRedis(port: number, command: string): Promise<string> {
  return new Promise((ok, fail) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.on("error", fail);
    socket.on("data", (bytes) => {
      socket.destroy();
      ok(bytes.toString());
    });
    socket.write(`${command}\r\n`);
  });
}

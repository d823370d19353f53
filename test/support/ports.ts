/**
 * Ports for listeners that a child process opens, or that are closed and opened again. Promise: until this process ends
 * nobody else takes one. They lie below the range from which the kernel takes ports for connections and for port 0, so that
 * no caller happens to sit on one in the moment between; a UDP socket on the same number keeps it from other test processes.
 */
import { createSocket, type Socket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

const LOWEST = 10_240;
/** Where the kernel's own begin on Linux, unless it says otherwise. */
const USUAL_CEILING = 32_768;
const ROOM = 2_000;
const TRIES = 500;

/** Reservations, for as long as this process lives. */
const reserved: Socket[] = [];

/** A port nobody listens on and nobody will. */
export async function freePort(): Promise<number> {
  return await freePortRange(1);
}

/** `count` different ones. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let i = 0; i < count; i++) ports.push(await freePort());
  return ports;
}

/** The first of `count` free ports in a row, for programs that want a base. */
export async function freePortRange(count: number): Promise<number> {
  const ceiling = ceilingOf();
  for (let tries = 0; tries < TRIES; tries++) {
    const base = LOWEST + Math.floor(Math.random() * (ceiling - LOWEST - count));
    const held: Socket[] = [];
    for (let port = base; port < base + count; port++) {
      const socket = await reserve(port);
      if (!socket) break;
      held.push(socket);
      if (!(await isFree(port))) break;
      if (held.length === count) {
        reserved.push(...held);
        return base;
      }
    }
    for (const socket of held) socket.close();
  }
  throw new Error(`no ${count} free ports in a row`);
}

function ceilingOf(): number {
  try {
    const low = Number.parseInt(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8"), 10);
    return low - LOWEST > ROOM ? Math.min(low, 65_536) : 65_536; // where the kernel takes nearly all, there is no better place
  } catch {
    return USUAL_CEILING;
  }
}

function reserve(port: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.on("error", () => {
      socket.close();
      resolve(undefined);
    });
    socket.bind({ port, address: "127.0.0.1", exclusive: true }, () => {
      socket.unref();
      resolve(socket);
    });
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

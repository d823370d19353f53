/**
 * Ways of a batch to its target: HTTP, TCP with or without TLS, UDP. Promise: bounded time; errors name host and cause only.
 */
import { createSocket } from "node:dgram";
import { connect as connectTcp, isIPv6, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { CodedError, messageOf } from "../../base/errors.ts";
import { openExchange } from "../../base/net/guarded-exchange.ts";
import { METADATA_ADDRESSES } from "../../base/net/ip.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";

interface HttpBatch {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly timeoutMs: number;
  readonly verifyTls: boolean;
  /** The first status that means it did not arrive. */
  readonly badStatus: number;
}

const ANSWER_BYTES = 65_536;
/** The most that an IPv4 datagram holds. */
const DATAGRAM_BYTES = 65_507;

const failed = (message: string): CodedError => new CodedError("PLUGIN_FAILED", { message });

export async function sendHttp(env: NodeEnv, batch: HttpBatch, signal: AbortSignal): Promise<void> {
  const { badStatus, ...request } = batch;
  const exchange = openExchange({
    ...{ clock: env.clock, timeoutMs: batch.timeoutMs, answerBytes: ANSWER_BYTES, denied: METADATA_ADDRESSES, signal },
    nameServers: env.settings.nameServers,
    code: "PLUGIN_FAILED",
  });
  const { status } = await exchange({ method: "POST", ...request });
  if (status >= badStatus) throw failed(`${new URL(batch.url).host}: status ${status}`);
}

interface TcpTarget {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** Without verification, as APISIX has it. */
  readonly tls: boolean;
  readonly serverName?: string | undefined;
}

/** Over a connection of its own; resolves when the system has taken all of it. */
export function sendTcp(env: NodeEnv, target: TcpTarget, data: string, signal: AbortSignal): Promise<void> {
  const { host, port } = target;
  return new Promise((resolve, reject) => {
    const socket: Socket = target.tls
      ? connectTls({
          host,
          port,
          rejectUnauthorized: false,
          ...(target.serverName ? { servername: target.serverName } : {}),
        })
      : connectTcp({ host, port });
    const end = (why: string | undefined): void => {
      timer.cancel();
      signal.removeEventListener("abort", stop);
      socket.destroy();
      if (why === undefined) resolve();
      else reject(failed(`${host}:${port}: ${why}`));
    };
    const stop = (): void => end("the node ends");
    const timer = env.clock.after(target.timeoutMs, () => end(`not taken within ${target.timeoutMs} ms`));
    signal.addEventListener("abort", stop, { once: true });
    socket.on("error", (error) => end(messageOf(error)));
    socket.on("close", () => end("closed"));
    socket.resume();
    socket.end(data, () => end(undefined));
  });
}

/** One datagram; its sender never learns whether it arrived. */
function sendUdp(host: string, port: number, data: string): Promise<void> {
  const bytes = Buffer.from(data);
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
    const end = (error: Error | null): void => {
      socket.close();
      if (error) reject(failed(`${host}:${port}: ${messageOf(error)}`));
      else resolve();
    };
    socket.once("error", end);
    socket.send(bytes, port, host, end);
  });
}

/** Datagrams that hold as many entries as fit into one. @param join of some entries */
export async function sendDatagrams<Entry>(
  host: string,
  port: number,
  entries: readonly Entry[],
  join: (entries: readonly Entry[]) => string,
): Promise<void> {
  const data = join(entries);
  if (Buffer.byteLength(data) <= DATAGRAM_BYTES || entries.length === 1) return sendUdp(host, port, data);
  const half = entries.length >> 1;
  await sendDatagrams(host, port, entries.slice(0, half), join);
  await sendDatagrams(host, port, entries.slice(half), join);
}

/**
 * Asks an upstream target once whether it is alive: connects, sends one small request, reads the status line only.
 * Promise: ends within the time limit, never follows anywhere, keeps no connection, reads a bounded number of bytes.
 * Source: docs/spec/proxy.md section 6.
 */
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Clock } from "../base/clock.ts";
import type { ProbeConf } from "../runtime/upstream/health/health-conf.ts";
import type { Probe, ProbeOutcome, ProbeTarget } from "../runtime/upstream/health/node-health.ts";
import { askHttp2 } from "./http2-probe.ts";

const MAX_STATUS_LINE = 1024;

/** The prober for `openUpstreams`. */
export function makeProbe(clock: Clock): Probe {
  return (target, conf, signal) =>
    new Promise((resolve) => {
      const socket = dial(target, conf);
      const finish = (outcome: ProbeOutcome): void => {
        late.cancel();
        signal.removeEventListener("abort", abort);
        socket.destroy();
        resolve(outcome);
      };
      const abort = (): void => finish({ kind: "refused" });
      const late = clock.after(conf.timeoutMs, () => finish({ kind: "timeout" }));
      signal.addEventListener("abort", abort, { once: true });
      // Kept until the socket is gone: an error after the end must not be an uncaught one.
      socket.on("error", () => finish({ kind: "refused" }));
      socket.on("close", () => finish({ kind: "refused" }));
      socket.once(conf.type === "https" ? "secureConnect" : "connect", () => {
        if (conf.type === "tcp") finish({ kind: "connected" });
        else if (conf.http2 !== true) ask(socket, target, conf, finish);
      });
      if (conf.http2 === true && conf.type !== "tcp")
        askHttp2(socket, hostOf(target), conf, (status) => finish({ kind: "status", status }));
      if (signal.aborted) abort();
    });
}

function dial(target: ProbeTarget, conf: ProbeConf): Socket {
  const { address: host, port } = target;
  if (conf.type !== "https") return connect({ host, port });
  const { cert, key } = target.tls ?? {};
  return connectTls({
    host,
    port,
    rejectUnauthorized: conf.verify,
    // An IP literal is no server name; the certificate is then checked against the address.
    ...(isIP(target.host) === 0 ? { servername: target.host } : {}),
    ...(cert === undefined ? {} : { cert, key }),
    ...(conf.http2 === true ? { ALPNProtocols: ["h2"] } : {}),
  });
}

function ask(socket: Socket, target: ProbeTarget, conf: ProbeConf, finish: (outcome: ProbeOutcome) => void): void {
  let line = "";
  socket.setEncoding("latin1");
  socket.on("data", (chunk: string) => {
    line += chunk;
    const end = line.indexOf("\n");
    if (end < 0 && line.length < MAX_STATUS_LINE) return;
    finish({ kind: "status", status: readStatus(line.slice(0, end < 0 ? MAX_STATUS_LINE : end)) });
  });
  socket.write(composeRequest(target, conf));
}

function readStatus(line: string): number {
  const match = /^HTTP\/\d+\.\d+\s+(\d{3})(?!\d)/.exec(line);
  return match ? Number(match[1]) : 0;
}

/** The texts were checked for line breaks when the configuration was compiled. */
function composeRequest(target: ProbeTarget, conf: ProbeConf): string | Buffer {
  const host = hostOf(target);
  const ownHost = conf.headers.some((line) => /^host\s*:/i.test(line));
  const body = Buffer.from(conf.body);
  const lines = [`${conf.method} ${conf.path} HTTP/1.1`, "Connection: close", ...conf.headers];
  if (!ownHost) lines.push(`Host: ${host}`);
  if (body.length > 0) lines.push(`Content-Length: ${body.length}`);
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), body]);
}

function hostOf({ host }: ProbeTarget): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

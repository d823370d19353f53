/**
 * Asks an HTTP/2 target once whether it is alive: by a request as over HTTP/1.1, or by gRPC's health service.
 * Promise: that of health-probe.ts; a session of its own, which is gone when the answer is here.
 * Source: grpc.health.v1 (gRPC's health checking protocol).
 */
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from "node:http2";
import type { Socket } from "node:net";
import type { ProbeConf } from "../runtime/upstream/health/health-conf.ts";
import { foldLines } from "./http/http2-fields.ts";

const HEALTH_CHECK = "/grpc.health.v1.Health/Check";
const ANSWER_BYTES = 1_024;
const SERVING = 1;
const NOT_SERVING = 503;

/**
 * @param socket   still connecting
 * @param host     for `:authority`
 * @param answered told of a status, 0 for what is no answer; may be told again
 */
export function askHttp2(socket: Socket, host: string, conf: ProbeConf, answered: (status: number) => void): void {
  const session = connect(`${conf.type}://upstream`, {
    createConnection: () => socket,
    settings: { enablePush: false },
  });
  session.on("error", () => {}); // the socket says it
  if (conf.path === HEALTH_CHECK) askService(session, host, conf, answered);
  else askPage(session, host, conf, answered);
}

function askPage(session: ClientHttp2Session, host: string, conf: ProbeConf, answered: (status: number) => void): void {
  const body = Buffer.from(conf.body);
  const lines = conf.headers.flatMap((line) => {
    const colon = line.indexOf(":");
    return colon > 0 ? [line.slice(0, colon).trim(), line.slice(colon + 1).trim()] : [];
  });
  const fields = foldLines(lines);
  const named = fields["host"];
  for (const name of ["host", "connection", "transfer-encoding", "upgrade", "keep-alive"]) delete fields[name];
  const head = { ...fields, ":method": conf.method, ":path": conf.path, ":authority": String(named ?? host) };
  const stream = session.request(head, { endStream: body.length === 0 });
  stream.on("error", () => answered(0));
  stream.on("response", ({ ":status": status }) => answered(Number(status ?? 0)));
  if (body.length > 0) stream.end(body);
}

function askService(
  session: ClientHttp2Session,
  host: string,
  conf: ProbeConf,
  answered: (status: number) => void,
): void {
  const service = Buffer.from(conf.body).subarray(0, 127);
  const message = service.length === 0 ? service : Buffer.concat([Buffer.from([0x0a, service.length]), service]);
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
  const head: OutgoingHttpHeaders = { ":method": "POST", ":path": HEALTH_CHECK, ":authority": host };
  const stream = session.request({ ...head, "content-type": "application/grpc", te: "trailers" });
  let bytes = Buffer.alloc(0);
  let code: unknown;
  stream.on("error", () => answered(0));
  stream.on("response", (headers) => {
    code = headers["grpc-status"];
  });
  stream.on("trailers", (trailers) => {
    code = trailers["grpc-status"];
  });
  stream.on("data", (chunk: Buffer) => {
    if (bytes.length < ANSWER_BYTES) bytes = Buffer.concat([bytes, chunk]);
  });
  stream.on("end", () => answered(code === "0" && isServing(bytes) ? 200 : NOT_SERVING));
  stream.end(frame);
}

/** A HealthCheckResponse whose `status`, its only member, is SERVING; one without a message is none. */
function isServing(frame: Buffer): boolean {
  return frame.length === 7 && frame[0] === 0 && frame[4] === 2 && frame[5] === 0x08 && frame[6] === SERVING;
}

/**
 * A gateway with a TLS listener, its certificate records in the table the live configuration has them in, and clients.
 */
import { connect as connectPlain } from "node:net";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";
import type { Freshness, Routing } from "../../src/gateway/gateway-context.ts";
import { openGatewayServer } from "../../src/gateway/gateway-server.ts";
import type { GatewaySettings } from "../../src/gateway/gateway-settings.ts";
import { openPlainGuard } from "../../src/gateway/tls/plain-guard.ts";
import type { TlsVersion } from "../../src/gateway/tls/server-certificate.ts";
import { openTlsCertificates, type SslSource, type TlsCertificates } from "../../src/gateway/tls/tls-certificates.ts";
import { openSsls, type Ssls } from "../../src/runtime/certificates.ts";
import { openSecrets, type SecretResolver } from "../../src/secret/resolver.ts";
import { openRawUpstream, type TestGateway } from "./support.ts";

export interface TlsInput {
  readonly settings?: Partial<GatewaySettings>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly minVersion?: TlsVersion;
  readonly http2?: boolean;
  readonly fallbackSni?: string;
  readonly freshness?: Freshness;
  /** "off": there is no plain listener; "guarded": hosts with client certificates are not served over it. */
  readonly plain?: "off" | "guarded";
}

export interface TlsGateway extends TestGateway {
  readonly tlsPort: number;
  readonly ssls: Ssls;
  readonly secrets: SecretResolver;
  readonly certificates: TlsCertificates;
}

export async function openTlsGateway(routing: Routing, input: TlsInput = {}): Promise<TlsGateway> {
  const metrics = openMetrics();
  const shared = { clock: systemClock, log: silentLog, metrics };
  const ssls = openSsls();
  const secrets = openSecrets({ ...shared, environment: input.environment ?? {}, limits: { denied: [] } });
  const source: SslSource = {
    revision: 7n,
    ssls: () => ssls.entries(),
    onSslChange: (listener) => ssls.onChange(listener),
  };
  const certificates = openTlsCertificates({
    ...shared,
    source,
    secrets,
    prefix: "/apisix",
    minVersion: input.minVersion ?? "TLSv1.2",
    http2: input.http2 ?? true,
  });
  const listen = { host: "127.0.0.1", port: 0 };
  const server = await openGatewayServer({
    ...shared,
    routing,
    ...(input.plain === "off" ? {} : { listen }),
    ...(input.plain === "guarded" && { plainGuard: openPlainGuard(source) }),
    settings: input.settings ?? {},
    ...(input.freshness ? { freshness: input.freshness } : {}),
    tls: { listen, certificates, fallbackSni: input.fallbackSni },
  });
  return {
    ...server,
    port: server.address?.port ?? 0,
    tlsPort: server.tlsAddress?.port ?? 0,
    ssls,
    secrets,
    certificates,
    scrape: () => metricsText(metrics),
    async close(drainMs) {
      await server.close(drainMs);
      certificates.close();
      secrets.close();
    },
  };
}

export type Handshake =
  | { readonly ok: true; readonly socket: TLSSocket; readonly subject: string; readonly protocol: string }
  | { readonly ok: false; readonly code: string };

/** Shakes hands; certificates are not verified, so that any can be looked at. */
export function shake(port: number, options: ConnectionOptions = {}): Promise<Handshake> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
    socket.on("error", (error: Error & { code?: string }) => resolve({ ok: false, code: error.code ?? error.message }));
    socket.on("close", () => resolve({ ok: false, code: "closed" }));
    socket.on("secureConnect", () => {
      const subject = String(socket.getPeerCertificate().subject?.CN ?? "");
      resolve({ ok: true, socket, subject, protocol: socket.getProtocol() ?? "" });
    });
  });
}

/** The subject of the certificate served, or why there is none. */
export async function subjectOf(port: number, options: ConnectionOptions = {}): Promise<string> {
  const done = await shake(port, options);
  if (!done.ok) return done.code;
  done.socket.destroy();
  return done.subject;
}

/** One HTTP/1.1 request on a connection of its own. @returns all that came */
export async function askTls(port: number, options: ConnectionOptions, request: string): Promise<string> {
  const done = await shake(port, options);
  if (!done.ok) return done.code;
  const { socket } = done;
  return new Promise((resolve) => {
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    socket.on("close", () => resolve(text));
    socket.write(request, "latin1");
  });
}

/** A GET that asks to be the last on its connection. */
export function get(host: string, path = "/x"): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
}

/** The first flight of a real client. */
export function recordHello(servername: string | undefined): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const listener = openRawUpstream((_socket, seen) => {
      client?.destroy();
      resolve(listener.then((one) => one.close()).then(() => Buffer.from(seen, "latin1")));
    });
    let client: TLSSocket | undefined;
    listener.then(({ port }) => {
      const socket = connectPlain(port, "127.0.0.1");
      client = connect({ socket, rejectUnauthorized: false, ...(servername !== undefined && { servername }) });
      client.on("error", () => {}); // nobody answers
    }, reject);
  });
}

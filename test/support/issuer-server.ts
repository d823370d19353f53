/**
 * An issuer of tokens on loopback: metadata, keys, tokens. Counts every fetch, and fails as it is told to.
 */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";

export interface IssuerKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly jwk: Readonly<Record<string, unknown>>;
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export interface IssuerServer {
  readonly url: string;
  readonly port: number;
  /** Of the keys. */
  readonly fetches: number;
  readonly discoveries: number;
  /** Every request, as `GET /keys`. */
  readonly seen: readonly { readonly line: string; readonly headers: IncomingMessage["headers"] }[];
  /** Published as they are. */
  keys: readonly object[];
  /** Instead of the keys; undefined: as it should be. */
  failing: Handler | undefined;
  /** Instead of the metadata. */
  discovery: Handler | undefined;
  /** Sent with the keys. */
  headers: Readonly<Record<string, string>>;
  token(key: IssuerKey, claims?: object, header?: object): string;
  close(): Promise<void>;
}

export function makeKey(kid: string): IssuerKey {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { kid, privateKey, jwk: { ...publicKey.export({ format: "jwk" }), kid, use: "sig" } };
}

export interface IssuerServerOptions {
  /** Default: any free one. */
  readonly port?: number;
  readonly tls?: { readonly cert: string; readonly key: string };
}

export async function openIssuerServer({ port = 0, tls }: IssuerServerOptions = {}): Promise<IssuerServer> {
  let fetches = 0;
  let discoveries = 0;
  const seen: { line: string; headers: IncomingMessage["headers"] }[] = [];
  const listener: RequestListener = (request, response) => {
    seen.push({ line: `${request.method} ${request.url}`, headers: request.headers });
    if (request.url === "/keys") {
      fetches++;
      if (made.failing) return made.failing(request, response);
      response.writeHead(200, { "Content-Type": "application/json", ...made.headers });
      response.end(JSON.stringify({ keys: made.keys }));
    } else if (request.url?.startsWith("/.well-known/")) {
      discoveries++;
      if (made.discovery) return made.discovery(request, response);
      response.end(JSON.stringify({ issuer: made.url, jwks_uri: `${made.url}/keys` }));
    } else response.writeHead(404).end();
  };
  const server = tls ? createTlsServer(tls, listener) : createServer(listener);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const bound = (server.address() as AddressInfo).port;
  const made: IssuerServer = {
    url: `${tls ? "https" : "http"}://127.0.0.1:${bound}`,
    port: bound,
    seen,
    get fetches() {
      return fetches;
    },
    get discoveries() {
      return discoveries;
    },
    keys: [],
    failing: undefined,
    discovery: undefined,
    headers: {},
    token(key, claims = {}, header = {}) {
      const seconds = Math.floor(Date.now() / 1_000);
      const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
      const head = part({ alg: "ES256", typ: "at+jwt", kid: key.kid, ...header });
      const input = `${head}.${part({ iss: made.url, sub: "caller", iat: seconds, exp: seconds + 600, ...claims })}`;
      const signature = sign("sha256", Buffer.from(input), { key: key.privateKey, dsaEncoding: "ieee-p1363" });
      return `${input}.${signature.toString("base64url")}`;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return made;
}

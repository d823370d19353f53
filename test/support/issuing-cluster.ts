/**
 * A cluster that issues tokens: gateways of two workers each on one etcd, behind one https name whose authority is a test's own;
 * one server of ES256 and RS256 keys, and a route that wants its tokens.
 */

import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { request } from "node:https";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { openAuthority } from "./authority.ts";
import { type Ends, openWithEnds } from "./endings.ts";
import { startEtcd } from "./etcd.ts";
import { freePorts } from "./ports.ts";
import { admin, type Node, startNode, temporaryFolder } from "./process.ts";

export const API = "https://api.example.com";
export const SCOPE = "orders.read";

export type TrustingFetch = (url: string, options?: object) => Promise<Response>;

export interface Issuer {
  readonly issuer: string;
  readonly jwksUri: string;
  readonly audience: string;
  /** File of the authority behind its certificate. */
  readonly authority: string;
}

export interface IssuingCluster extends Issuer {
  readonly desk: Node;
  readonly gateways: readonly Node[];
  readonly fetch: TrustingFetch;
  /** Of the client `keyed`, as PEM in `keyFile`. */
  readonly clientKey: KeyObject;
  readonly keyFile: string;
  /** What was generated for a client. */
  secretOf(client: string): string;
  /** @param node default: the first */
  tokenOf(client?: string, node?: Node): Promise<string>;
  close(): Promise<void>;
}

/**
 * Clients: `batch`, `rsa` (RS256 tokens), `posting`, `keyed` (private_key_jwt), and `api`, which may introspect.
 * @param keptSeconds jwks_max_age
 */
export async function openIssuingCluster(count: number, keptSeconds: number): Promise<IssuingCluster> {
  return openWithEnds(open);

  async function open(ends: Ends, close: () => Promise<void>): Promise<IssuingCluster> {
    const upstream = createHttpServer((incoming, response) => {
      incoming.resume();
      response.end("ok");
    });
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    ends.push(() => upstream.close());
    const etcd = await startEtcd();
    ends.push(() => etcd.stop());
    const [shared = 0, ...ports] = await freePorts(count + 1);
    const options = { etcd: etcd.endpoints };
    const starting = [
      startNode("admin", options),
      ...ports.map((port) =>
        startNode("gateway", { ...options, args: ["--workers", "2", "--gateway-tls-listen", `127.0.0.1:${port}`] }),
      ),
    ];
    for (const node of starting) ends.push(async () => (await node).stop());
    const [desk, ...gateways] = (await Promise.all(starting)) as [Node, ...Node[]];
    const balancer = await startBalancer(shared, ports);
    ends.push(() => balancer.close());
    const authority = openAuthority();
    ends.push(() => authority.close());
    const folder = temporaryFolder("issuer");
    const [authorityFile, keyFile] = [join(folder, "authority.pem"), join(folder, "client.pem")];
    const { privateKey: clientKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    writeFileSync(authorityFile, authority.cert);
    writeFileSync(keyFile, clientKey.export({ type: "pkcs8", format: "pem" }));

    const secrets = new Map<string, string>();
    const put = async (path: string, body: object): Promise<object> => {
      const { status, body: said } = await admin(desk, "PUT", `${path}?wait=all`, body);
      if (status >= 300) throw new Error(`PUT ${path}: ${status} ${JSON.stringify(said)}`);
      return said as object;
    };
    const register = async (id: string, conf: object): Promise<void> => {
      const plugins = { "oauth2-client": { client_id: id, ...conf } };
      const said = (await put(`/consumers/shop/credentials/${id}`, { plugins })) as {
        readonly generated?: { readonly client_secret: string };
      };
      if (said.generated !== undefined) secrets.set(id, said.generated.client_secret);
    };
    const issuer = `https://localhost:${shared}`;
    await put("/ssls/1", { ...authority.issue(["localhost"]), sni: "localhost" });
    await put("/authorization_servers/main", {
      ...{ issuer, algorithms: ["ES256", "RS256"], jwks_max_age: keptSeconds, scopes_supported: [SCOPE] },
      key_rotation: { interval: 0, publish_ahead: keptSeconds },
    });
    await put("/routes/auth", {
      ...{ uris: ["/oauth2/*", "/.well-known/*"] },
      plugins: { "authorization-server": { id: "main" } },
    });
    await put("/routes/orders", {
      ...{ uri: "/orders/*", upstream: { nodes: { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 } } },
      plugins: { "access-token": { authorization_servers: ["main"], audiences: [API], required_scopes: [SCOPE] } },
    });
    await put("/consumers/shop", { username: "shop" });
    const usual = { audiences: [API], scope: SCOPE };
    await register("batch", usual);
    await register("rsa", { ...usual, access_token_signing_alg: "RS256" });
    await register("posting", { ...usual, token_endpoint_auth_method: "client_secret_post" });
    const jwk = { ...publicKey.export({ format: "jwk" }), kid: "c1" };
    await register("keyed", { ...usual, token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [jwk] } });
    await register("api", { introspection: true, resource: API });

    const secretOf = (client: string): string => secrets.get(client) ?? "";
    return {
      ...{ issuer, jwksUri: `${issuer}/.well-known/jwks.json`, audience: API, authority: authorityFile },
      ...{ desk, gateways, fetch: fetchTrusting(authority.cert), clientKey, keyFile, secretOf, close },
      async tokenOf(client = "batch", node = gateways[0]) {
        const answer = await fetch(`${node?.gateway}/oauth2/token`, {
          ...{ method: "POST", body: new URLSearchParams({ grant_type: "client_credentials" }) },
          headers: { authorization: `Basic ${Buffer.from(`${client}:${secretOf(client)}`).toString("base64")}` },
        });
        if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`);
        return ((await answer.json()) as { readonly access_token: string }).access_token;
      },
    };
  }
}

/** `fetch` as clients of the issuer use it, that trusts this authority. */
function fetchTrusting(ca: string): TrustingFetch {
  return async (url, options) => {
    const asked = new Request(url, options as RequestInit);
    const body = Buffer.from(await asked.arrayBuffer());
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { ...Object.fromEntries(asked.headers), "content-length": String(body.length) };
      request(asked.url, { ca, method: asked.method, headers, agent: false })
        .on("response", resolve)
        .on("error", reject)
        .end(body);
    });
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk);
    const headers = new Headers();
    for (const [name, value] of Object.entries(answer.headers)) headers.set(name, String(value));
    return new Response(Buffer.concat(chunks), { status: answer.statusCode ?? 0, headers });
  };
}

/** Passes connections on to each in turn. */
async function startBalancer(port: number, ports: readonly number[]): Promise<Server> {
  let turn = 0;
  const server = createServer((caller) => {
    const target = connect(ports[turn++ % ports.length] ?? 0, "127.0.0.1");
    caller.pipe(target).pipe(caller);
    for (const [one, other] of [
      [caller, target],
      [target, caller],
    ] as const)
      one.on("error", () => other.destroy());
  });
  await new Promise<void>((ok) => server.listen(port, "127.0.0.1", ok));
  return server;
}

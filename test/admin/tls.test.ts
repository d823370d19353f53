import { request } from "node:https";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ADMIN_KEY, type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";

const own = { cert: CERTIFICATE, key: PRIVATE_KEY };

/** The status of a request over TLS, or the word of the failed handshake. */
function status(port: number, client: object): Promise<number | string> {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port, path: "/apisix/admin/routes", headers: { "X-API-KEY": ADMIN_KEY } };
    const outgoing = request(
      { ...options, ca: CERTIFICATE, checkServerIdentity: () => undefined, agent: false, ...client },
      (incoming) => {
        incoming.resume();
        resolve(incoming.statusCode ?? 0);
      },
    );
    outgoing.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    outgoing.end();
  });
}

describe("TLS", () => {
  let plain: AdminWorld;
  let mutual: AdminWorld;
  beforeAll(async () => {
    plain = await openAdminWorld({ tls: own });
    mutual = await openAdminWorld({ store: plain.store, tls: { ...own, clientCa: CERTIFICATE } });
  });
  afterAll(async () => {
    await mutual.close();
    await plain.close();
  });

  test("the Admin API is served over TLS, and not without", async () => {
    expect(await status(plain.port, {})).toBe(200);
    await expect(plain.call("GET", "/routes")).rejects.toThrow();
  });

  test("a client certificate is asked for where an authority is set", async () => {
    expect(await status(mutual.port, own)).toBe(200);
    expect(typeof (await status(mutual.port, {}))).toBe("string");
  });
});

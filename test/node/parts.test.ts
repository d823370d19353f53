import { describe, expect, test } from "vitest";
import { makeParts } from "../../src/node/node-parts.ts";
import { readSettings } from "../../src/settings/settings.ts";

async function httpsPort(...argv: string[]): Promise<number | undefined> {
  const settings = readSettings({ argv, env: {}, readFile: () => "" });
  return (await makeParts(settings)).pluginSettings.httpsPort;
}

describe("where http_to_https sends callers", () => {
  test("nobody said: the default port of https", async () => {
    expect(await httpsPort()).toBeUndefined();
  });

  test("the port of the TLS listener", async () => {
    expect(await httpsPort("--gateway-tls-listen", "0.0.0.0:9443")).toBe(9443);
  });

  test("redirect.https_port, whatever is listened on here", async () => {
    expect(await httpsPort("--redirect-https-port", "443", "--gateway-tls-listen", "0.0.0.0:9443")).toBe(443);
    expect(await httpsPort("--redirect-https-port", "8443")).toBe(8443);
  });
});

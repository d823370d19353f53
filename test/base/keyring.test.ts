import { createCipheriv } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isSealed, openKeyring } from "../../src/base/keyring.ts";

const KEY = "0123456789abcdef";
const OTHER = "fedcba9876543210";
const LONG = "0123456789abcdef0123456789abcdef";
const PLACE = "/apisix/consumers/jack\nplugins.jwt-auth.secret";

describe("our format", () => {
  const ring = openKeyring([KEY], "gcm");

  test("any text comes back, and never looks like itself or like its twin", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const [one, two] = [ring.seal(text, PLACE), ring.seal(text, PLACE)];
        expect(ring.open(one, PLACE)).toEqual({ kind: "opened", text });
        expect(one).not.toBe(two);
        expect(isSealed(one)).toBe(true);
        expect(one).toMatch(/^jotgate:1:[0-9a-f]{8}:[A-Za-z0-9_-]+$/);
        if (text.length > 3) expect(one).not.toContain(text);
      }),
    );
  });

  test("a text opens at its own place only", () => {
    const sealed = ring.seal("secret", PLACE);
    expect(ring.open(sealed, PLACE.replace("jack", "jill"))).toEqual({
      kind: "unopenable",
      reason: "it was sealed for another place, or changed",
    });
  });

  test("whatever is changed in it is noticed", () => {
    const sealed = ring.seal("a secret of some length", PLACE);
    const body = sealed.lastIndexOf(":") + 1;
    for (let at = body; at < sealed.length; at++) {
      const changed = sealed.slice(0, at) + (sealed[at] === "A" ? "B" : "A") + sealed.slice(at + 1);
      // The last digit of base64 may carry bits that mean nothing.
      if (at < sealed.length - 1) expect(ring.open(changed, PLACE).kind).toBe("unopenable");
    }
    for (const cut of ["jotgate:1:", sealed.slice(0, body), sealed.slice(0, body + 10), `${sealed}!`])
      expect(ring.open(cut, PLACE).kind).toBe("unopenable");
  });

  test("another keyring says which key is missing, and not what the text was", () => {
    const opened = openKeyring([OTHER], "gcm").open(ring.seal("secret", PLACE), PLACE);
    expect(opened).toEqual({
      kind: "unopenable",
      reason: expect.stringMatching(/^it was sealed with key [0-9a-f]{8}, which is not in the keyring$/),
    });
  });

  test("with a new first key the old one still opens", () => {
    const rotated = openKeyring([OTHER, KEY], "gcm");
    expect(rotated.open(ring.seal("secret", PLACE), PLACE)).toEqual({ kind: "opened", text: "secret" });
    expect(openKeyring([KEY], "gcm").open(rotated.seal("secret", PLACE), PLACE).kind).toBe("unopenable");
  });

  test.each(["secret", "", "c2VjcmV0", "0123456789abcdef".repeat(4), "-----BEGIN PRIVATE KEY-----", "jotgate:2:x"])(
    "%j is plain text",
    (text) => expect(ring.open(text, PLACE)).toEqual({ kind: "plain" }),
  );
});

describe("APISIX's format", () => {
  test("is written as APISIX writes it", () => {
    expect(openKeyring(["qeddd145sfvddff3"], "aes-cbc").seal("the-password", PLACE)).toBe("WvF5kpaLvIzjuk4GNIMTJg==");
  });

  test.each([
    { keys: ["qeddd145sfvddff3"], format: "aes-cbc" as const },
    { keys: ["qeddd145sfvddff3"], format: "gcm" as const },
    { keys: [KEY, "qeddd145sfvddff3"], format: "gcm" as const },
    { keys: [LONG, KEY, "qeddd145sfvddff3"], format: "aes-cbc" as const },
  ])("is read with any key of the ring: $keys $format", ({ keys, format }) => {
    const opened = openKeyring(keys, format).open("WvF5kpaLvIzjuk4GNIMTJg==", PLACE);
    expect(opened).toEqual({ kind: "opened", text: "the-password" });
  });

  test("a key of 32 characters is AES-256", () => {
    const cipher = createCipheriv("aes-256-cbc", LONG, LONG.slice(0, 16));
    const sealed = Buffer.concat([cipher.update("the-password"), cipher.final()]).toString("base64");
    const ring = openKeyring([LONG], "aes-cbc");
    expect(ring.seal("the-password", PLACE)).toBe(sealed);
    expect(ring.open(sealed, PLACE)).toEqual({ kind: "opened", text: "the-password" });
  });

  test("any text comes back", () => {
    const ring = openKeyring([KEY], "aes-cbc");
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (text) => {
        expect(ring.open(ring.seal(text, PLACE), PLACE)).toEqual({ kind: "opened", text });
      }),
    );
  });

  test("what no key opens cannot be told from plain text, and is taken as it is", () => {
    expect(openKeyring([OTHER], "aes-cbc").open("WvF5kpaLvIzjuk4GNIMTJg==", PLACE)).toEqual({ kind: "plain" });
  });

  test("what our format sealed is still read", () => {
    const sealed = openKeyring([KEY], "gcm").seal("secret", PLACE);
    expect(openKeyring([KEY], "aes-cbc").open(sealed, PLACE)).toEqual({ kind: "opened", text: "secret" });
  });
});

describe("digests", () => {
  test("are the same on every node, one per key, and nobody's without the key", () => {
    const [first, second] = openKeyring([KEY, OTHER], "gcm").digests("jack-key");
    expect(openKeyring([KEY], "gcm").digests("jack-key")).toEqual([first]);
    expect(openKeyring([OTHER], "gcm").digests("jack-key")).toEqual([second]);
    expect(openKeyring([KEY], "gcm").digests("jill-key")).not.toEqual([first]);
    expect(openKeyring([KEY], "aes-cbc").digests("jack-key")).toEqual([first]);
  });

  test("tell whose they are", () => {
    const [digest = ""] = openKeyring([KEY], "gcm").digests("jack-key");
    expect(openKeyring([OTHER, KEY], "gcm").owns(digest)).toBe(true);
    expect(openKeyring([OTHER], "gcm").owns(digest)).toBe(false);
    expect(openKeyring([KEY], "gcm").owns("0".repeat(64))).toBe(false);
  });
});

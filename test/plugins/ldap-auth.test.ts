import { connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { answerHeader, bodyText, makeEnv, runPhases, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { ldapAuth } from "../../src/plugins/ldap-auth/ldap-auth.ts";
import { waitFor } from "../gateway/support.ts";
import { openAuthority } from "../support/authority.ts";
import { hasSlapd, type Slapd, startSlapd } from "../support/slapd.ts";

const BASE = "ou=users,dc=example,dc=org";
const consumers = [
  { username: "one", auth: { "ldap-auth": { user_dn: `cn=user01,${BASE}` } } },
  { username: "comma", auth: { "ldap-auth": { user_dn: `cn=comma\\,user,${BASE}` } } },
  { username: "odd", auth: { "ldap-auth": { user_dn: `cn=\\#a\\=\\"b\\\\c,${BASE}` } } },
  // What a name that is not escaped would lead to.
  { username: "bare", auth: { "ldap-auth": { user_dn: `cn=bare,user,${BASE}` } } },
  { username: "nobody", auth: { "ldap-auth": { user_dn: `cn=,${BASE}` } } },
];

const basic = (user: string, password: string) => ({
  Authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});

async function ask(phases: PluginPhases, headers: Record<string, string>) {
  const view = makeView({ headers });
  const answer = await runPhases(phases, view);
  return { view, answer, who: answer?.reason ?? view.consumer?.username };
}

/** Listens, and is ended with what is connected to it. */
const servers: Server[] = [];
const sockets = new Set<Socket>();
async function listen(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    onSocket(socket);
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return (server.address() as { port: number }).port;
}
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

const openEnv = (): TestEnv => makeEnv({ plugins: [ldapAuth], consumers });
const compile = (env: TestEnv, port: number, conf: object = {}) =>
  env.compile(ldapAuth, { base_dn: BASE, ldap_uri: `127.0.0.1:${port}`, ...conf });

describe.skipIf(!hasSlapd)("ldap-auth with OpenLDAP (skipped without /usr/sbin/slapd)", () => {
  let slapd: Slapd;
  let phases: PluginPhases;
  beforeAll(async () => {
    const authority = openAuthority();
    const users = {
      user01: "password1",
      "comma,user": "commapass",
      '#a="b\\c': "pass:with  both",
      bare: "barepass",
      stranger: "p",
    };
    slapd = await startSlapd(users, authority.issue(["localhost", "IP:127.0.0.1"]));
    authority.close();
    phases = compile(openEnv(), slapd.port);
  });
  afterAll(async () => {
    phases.close?.();
    await slapd.stop();
  });

  test.each([
    ["user01", "password1", "one"],
    ["user01", "password2", "user_or_password_wrong"],
    ["user01", "", "user_or_password_wrong"],
    ["", "password1", "user_or_password_wrong"],
    ["", "", "user_or_password_wrong"],
    ["nobody", "password1", "user_or_password_wrong"],
    ["stranger", "p", "user_or_password_wrong"],
    ["comma,user", "commapass", "comma"],
    ['#a="b\\c', "pass:with  both", "odd"],
    ['#a="b\\c', "pass", "user_or_password_wrong"],
    ["bare,user", "barepass", "user_or_password_wrong"],
    ["bare,user,ou=users", "barepass", "user_or_password_wrong"],
    [`user01,${BASE}`, "password1", "user_or_password_wrong"],
    ["user01+sn=x", "password1", "user_or_password_wrong"],
    ["*", "password1", "user_or_password_wrong"],
    ["user01)(cn=*", "password1", "user_or_password_wrong"],
    ["user01\0", "password1", "user_or_password_wrong"],
    ["user01\\00", "password1", "user_or_password_wrong"],
    [" user01", "password1", "user_or_password_wrong"],
    ["user01 ", "password1", "user_or_password_wrong"],
  ])("%j with %j is %s", async (user, password, want) => {
    expect((await ask(phases, basic(user, password))).who).toBe(want);
  });

  test("a name and a password of any length are wrong", async () => {
    const { who } = await ask(phases, basic("x".repeat(20_000), "p".repeat(20_000)));
    expect(who).toBe("user_or_password_wrong");
  });

  test("the upstream gets the credentials, unless they are hidden", async () => {
    const sent = basic("user01", "password1");
    expect((await ask(phases, sent)).view.header("authorization")).toBe(sent.Authorization);
    const hiding = compile(openEnv(), slapd.port, { hide_credentials: true });
    const { view } = await ask(hiding, sent);
    expect([view.header("authorization"), view.header("x-consumer-username")]).toEqual([undefined, "one"]);
    hiding.close?.();
  });

  test("over TLS, whose certificate is verified where that is asked for", async () => {
    const sent = basic("user01", "password1");
    for (const [conf, want] of [
      [{ use_tls: true }, "one"],
      [{ ldap_uri: `ldaps://127.0.0.1:${slapd.tlsPort}` }, "one"],
      [{ use_tls: true, tls_verify: true }, "ldap_unavailable"],
    ] as const) {
      const one = compile(openEnv(), slapd.tlsPort, conf);
      expect((await ask(one, sent)).who).toBe(want);
      one.close?.();
    }
  });

  test("a few connections serve many callers, also those that the server has closed meanwhile", async () => {
    let opened = 0;
    const port = await listen((socket) => {
      opened++;
      const to = connect(slapd.port, "127.0.0.1");
      to.on("error", () => undefined);
      to.on("close", () => socket.destroy());
      socket.on("close", () => to.destroy());
      socket.pipe(to).pipe(socket);
    });
    const env = openEnv();
    const [one, other] = [compile(env, port), compile(env, port, { realm: "other" })];
    const both = Array.from({ length: 200 }, (_, at) =>
      ask(at % 2 ? one : other, basic("user01", at % 5 ? "password1" : "wrong")).then(({ who }) => who),
    );
    const got = await Promise.all(both);
    expect(got.filter((who) => who === "one")).toHaveLength(160);
    expect(opened).toBeLessThanOrEqual(16);
    for (const socket of sockets) socket.destroy();
    expect((await ask(one, basic("user01", "password1"))).who).toBe("one");
    expect(env.heldStates).toBe(1);
    one.close?.();
    other.close?.();
    await waitFor(() => sockets.size === 0);
    expect(env.heldStates).toBe(0);
  });

  test("connections that nobody uses are closed", async () => {
    const env = openEnv();
    let open = 0;
    const port = await listen((socket) => {
      open++;
      const to = connect(slapd.port, "127.0.0.1");
      socket.on("close", () => {
        open--;
        to.destroy();
      });
      socket.pipe(to).pipe(socket);
    });
    const one = compile(env, port);
    await ask(one, basic("user01", "password1"));
    expect(open).toBe(1);
    env.clock.advance(60_000);
    await waitFor(() => open === 0);
    expect((await ask(one, basic("user01", "password1"))).who).toBe("one");
    one.close?.();
  });
});

describe("ldap-auth", () => {
  test("refusals carry the challenge", async () => {
    const phases = compile(openEnv(), 1, { realm: "mine" });
    const cases = [
      [{}, "Missing authorization in request"],
      [{ Authorization: "Bad_header Zm9vOmZvbwo=" }, "Invalid authorization in request"],
      [{ Authorization: "Basic Zm9v" }, "Invalid authorization in request"],
      [basic("user01", "password1"), "Invalid user authorization"],
    ] as const;
    for (const [headers, message] of cases) {
      const { answer } = await ask(phases, { ...headers });
      expect([answer?.status, bodyText(answer)]).toEqual([401, `${JSON.stringify({ message })}\n`]);
      expect(answerHeader(answer, "www-authenticate")).toBe('Basic realm="mine"');
    }
    phases.close?.();
  });

  test("a server that hangs has its time, and callers that wait are bounded", async () => {
    let asked = 0;
    const port = await listen((socket) => socket.on("data", () => asked++));
    const env = openEnv();
    const phases = compile(env, port);
    const pending = Array.from({ length: 1_100 }, () => ask(phases, basic("user01", "password1")));
    const early = await Promise.all(pending.slice(16 + 1_024));
    expect(new Set(early.map(({ who }) => who))).toEqual(new Set(["ldap_unavailable"]));
    await waitFor(() => asked === 16);
    env.clock.advance(10_000);
    expect(new Set((await Promise.all(pending)).map(({ who }) => who))).toEqual(new Set(["ldap_unavailable"]));
    await waitFor(() => sockets.size === 0);
    phases.close?.();
  });

  test("a server that talks nonsense, or closes, lets nobody in", async () => {
    for (const said of ["HTTP/1.1 400 Bad Request\r\n\r\n", "\x30\x84\xff\xff\xff\xff"]) {
      const port = await listen((socket) => socket.on("data", () => socket.end(said, "latin1")));
      const phases = compile(openEnv(), port);
      expect((await ask(phases, basic("user01", "password1"))).who).toBe("ldap_unavailable");
      phases.close?.();
    }
  });

  test.each([
    [{ base_dn: 123 }, "wrong type: expected string, got number"],
    [{ ldap_uri: "http://h" }, 'property "ldap_uri" is no host:port'],
    [{ ldap_uri: "ldap://h/dc=x" }, 'property "ldap_uri" is no host:port'],
    [{ uid: "cn=x," }, 'property "uid" is no attribute'],
  ])("%j is refused", (conf, text) => {
    expect(() => compile(openEnv(), 1, conf)).toThrow(text);
  });
});

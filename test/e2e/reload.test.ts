/**
 * `jotgate reload` on real processes: what is taken without a restart, what waits for one, and that a mistake changes nothing.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSettings } from "../../src/settings/settings.ts";
import { changeSettings } from "../../src/settings/settings-reload.ts";
import { openAuthority } from "../support/authority.ts";
import { freePorts } from "../support/ports.ts";
import { ADMIN_KEY, type Node, ROOT, run, startNode, temporaryFolder, until } from "../support/process.ts";

const folder = temporaryFolder("reload");
const path = (name: string): string => join(folder, name);
const authority = openAuthority();
const other = openAuthority("another authority");
afterAll(() => {
  authority.close();
  other.close();
});

/** Writes the settings file; members in YAML's flow form. */
function settings(text: string): void {
  writeFileSync(path("gateway.yaml.new"), text);
  renameSync(path("gateway.yaml.new"), path("gateway.yaml"));
}

async function reload(dataDir: string, instance?: string): Promise<{ code: number | string; output: string }> {
  const args = ["reload", "--data-dir", dataDir, ...(instance === undefined ? [] : ["--instance", instance])];
  const told = run(process.execPath, [join(ROOT, "bin/jotgate.mjs"), ...args]);
  return { code: await told.exited, output: told.output() };
}

const putRoute = (node: Node): Promise<number> =>
  fetch(`${node.admin}/apisix/admin/routes/seen?wait=all`, {
    method: "PUT",
    headers: { "X-API-KEY": ADMIN_KEY },
    body: JSON.stringify({ uri: "/seen", plugins: { mocking: { response_example: "address $remote_addr" } } }),
  }).then(({ status }) => status);

const call = (node: Node, headers: Record<string, string> = {}): Promise<Response> =>
  // Trust is found when a connection is accepted.
  fetch(`${node.gateway}/seen`, { headers: { ...headers, connection: "close" } });

/** What is answered to these bytes; the connection ends with it, or after its head. */
function answerTo(host: string, port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(port, host, () => socket.write(bytes));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (text.includes("\r\n\r\n")) socket.destroy();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(text));
  });
}

describe.each([
  { processes: "one process", workers: "1" },
  { processes: "two workers", workers: "2" },
])("$processes", ({ workers }) => {
  const dataDir = temporaryFolder(`reload-${workers}`);
  const lines = path(`access-${workers}.log`);
  let node: Node;
  const logins = async (key: string): Promise<number> =>
    (await fetch(`${node.admin}/apisix/admin/routes`, { headers: { "X-API-KEY": key } })).status;

  beforeAll(async () => {
    settings("log: { level: info }\n");
    node = await startNode("start", {
      dataDir,
      args: [
        "--workers",
        workers,
        "--config",
        path("gateway.yaml"),
        "--drain-time",
        "2s",
        "--gateway-node-header",
        "X-Jotgate-Node",
      ],
    });
    expect(await putRoute(node)).toBe(201);
  });
  afterAll(async () => void (await node.stop()));

  test("keys, trusted proxies, limits and both logs change; what waits for a restart is named", async () => {
    const keys = '[{ name: ci, key: "ci-key-0123456789abcdef", role: viewer }]';
    expect(await logins("ci-key-0123456789abcdef")).toBe(401);
    const forwarded = { "x-real-ip": "203.0.113.7" };
    expect(await (await call(node, forwarded)).text()).toBe("address 203.0.113.7");
    const long = { "x-long": "a".repeat(9_000) };
    expect((await call(node, long)).status).toBe(200);
    settings(
      `log: { level: debug }\nadmin: { keys: ${keys} }\nreal_ip: { trusted: [10.0.0.0/8] }\nlimits: { head_bytes: 4KiB }\n` +
        `access_log: { format: json, target: "${lines}" }\nmax_stale: 1h\n`,
    );
    const { code, output } = await reload(dataDir);
    expect(output).toMatch(
      /taken: admin\.keys, real_ip\.trusted, limits\.head_bytes, access_log\.format, access_log\.target, log\.level\n/,
    );
    if (workers === "2") expect(output).toContain("workers replaced: 2\n");
    expect(output).toContain("changed, but waiting for a restart: max_stale\n");
    expect(code).toBe(3);
    expect(await logins("ci-key-0123456789abcdef")).toBe(200);
    expect(await (await call(node, forwarded)).text()).toBe("address 127.0.0.1");
    expect((await call(node, long)).status).toBe(431);
    await until("lines of the access log", () => existsSync(lines) && readFileSync(lines, "utf8").includes('"/seen"'));
    expect(node.output()).toContain('"msg":"these settings have changed and wait for a restart"');
    expect(node.output()).not.toContain("ci-key-0123456789abcdef");

    settings(`log: { level: error }\naccess_log: { format: "off" }\n`);
    expect(await reload(dataDir)).toMatchObject({ code: 0 });
    if (workers === "2") return;
    expect(await logins("ci-key-0123456789abcdef")).toBe(401);
    expect((await call(node, long)).status).toBe(200);
    const said = node.output().length;
    settings("log: { level: error }\n");
    expect(await reload(dataDir)).toMatchObject({ code: 0, output: expect.stringContaining("no setting that can") });
    expect(node.output().slice(said)).not.toContain('"level":"info"');
  });

  test("every answer says which node gave it", async () => {
    const { id } = (await (await fetch(`${node.status}/status`)).json()) as { readonly id: string };
    expect(id).toMatch(/^node-\d+-/);
    const served = [
      await call(node),
      await fetch(`${node.gateway}/nothing`),
      await fetch(node.gateway, { method: "OPTIONS" }),
    ];
    expect(served.map(({ headers }) => headers.get("x-jotgate-node"))).toEqual([id, id, id]);
    const { hostname, port } = new URL(node.gateway);
    for (const bytes of [
      "GET /seen HTTP/1.1\r\nHost: a b\r\n\r\n",
      "nonsense\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ])
      expect(await answerTo(hostname, Number(port), bytes)).toContain(`X-Jotgate-Node: ${id}\r\n`);
  });

  test.skipIf(workers === "2").each([
    {
      says: "a wrong value",
      text: "log:\n  level: loud\nlimits: { head_bytes: 4KiB }\n",
      want: /gateway\.yaml line 2: log\.level: expected one of debug/,
    },
    {
      says: "an unknown member",
      text: "admin:\n  kees: []\nlimits: { head_bytes: 4KiB }\n",
      want: /gateway\.yaml line 2: unknown setting admin\.kees/,
    },
    { says: "broken YAML", text: "log: {\n", want: /gateway\.yaml line \d+: not valid YAML/ },
    {
      says: "a key given twice",
      text: `admin: { keys: [{ name: two, key: "${ADMIN_KEY}", role: admin }] }\n`,
      want: /no key may be given twice/,
    },
    {
      says: "a log that cannot be opened",
      text: `limits: { head_bytes: 4KiB }\naccess_log: { format: json, target: ${folder}/no/such/folder }\n`,
      want: /ENOENT.*no\/such\/folder/,
    },
  ])("$says changes nothing", async ({ text, want }) => {
    settings(text);
    const { code, output } = await reload(dataDir);
    expect(output).toMatch(want);
    expect(output).toContain("nothing was reloaded; all settings stay as they are");
    expect(code).toBe(1);
    expect(output).not.toContain(ADMIN_KEY);
    expect(node.output()).toContain("reload failed; all settings stay as they are");
    expect([
      await logins(ADMIN_KEY),
      (await call(node)).status,
      (await call(node, { "x-long": "a".repeat(9_000) })).status,
    ]).toEqual([200, 200, 200]);
  });

  test.skipIf(workers === "2")("an address that is taken off the list is refused at once", async () => {
    settings("admin: { allow_list: [10.0.0.0/8] }\n");
    expect((await reload(dataDir)).output).toContain("taken: admin.allow_list");
    expect(await logins(ADMIN_KEY)).toBe(403);
    settings("{}\n");
    await reload(dataDir);
    expect(await logins(ADMIN_KEY)).toBe(200);
  });
});

test("certificates of the Admin API change, and with them who may connect; half a pair changes nothing", async () => {
  const put = (name: string, text: string): void => writeFileSync(path(name), text);
  const [first, second] = [authority.issue(["IP:127.0.0.1"]), other.issue(["IP:127.0.0.1"])];
  put("tls.pem", first.cert);
  put("tls.key", first.key);
  put("ca.pem", authority.cert);
  const client = authority.issue(["operator"]);
  const [admin, gateway, status] = await freePorts(3);
  const dataDir = temporaryFolder("reload-tls");
  const args = ["--admin-listen", `127.0.0.1:${admin}`, "--gateway-listen", `127.0.0.1:${gateway}`];
  args.push("--status-listen", `127.0.0.1:${status}`, "--control-listen", "off", "--data-dir", dataDir);
  args.push(
    "--admin-tls-cert",
    path("tls.pem"),
    "--admin-tls-key",
    path("tls.key"),
    "--admin-tls-client-ca",
    path("ca.pem"),
  );
  const node = run(process.execPath, [join(ROOT, "bin/jotgate.mjs"), "start", ...args], {
    env: { JOTGATE_ADMIN_KEY: ADMIN_KEY },
  });
  try {
    await until("ready", async () => (await fetch(`http://127.0.0.1:${status}/ready`)).ok, 60_000);
    const ask = (ca: string, pair: { readonly cert: string; readonly key: string }): Promise<number | string> =>
      new Promise((resolve) => {
        const options = { ca, ...pair, headers: { "x-api-key": ADMIN_KEY }, agent: false };
        get(`https://127.0.0.1:${admin}/apisix/admin/routes`, options, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        }).on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      });
    expect(await ask(authority.cert, client)).toBe(200);

    put("tls.pem", second.cert);
    const half = await reload(dataDir);
    expect([half.code, half.output]).toEqual([1, expect.stringContaining("admin.tls.cert, admin.tls.key: ")]);
    expect(await ask(authority.cert, client)).toBe(200);

    put("tls.key", second.key);
    put("ca.pem", "not a certificate\n");
    const garbage = await reload(dataDir);
    expect([garbage.code, garbage.output]).toEqual([1, expect.stringContaining("ca.pem holds no certificate in PEM")]);
    expect(await ask(authority.cert, client)).toBe(200);

    put("ca.pem", other.cert);
    expect(await reload(dataDir)).toMatchObject({
      code: 0,
      output: expect.stringContaining("taken: the files of admin.tls"),
    });
    expect(await ask(authority.cert, client)).not.toBe(200);
    expect(await ask(other.cert, client)).not.toBe(200);
    expect(await ask(other.cert, other.issue(["operator"]))).toBe(200);
    rmSync(path("tls.key"));
    expect(await reload(dataDir)).toMatchObject({ code: 1, output: expect.stringContaining("tls.key") });
  } finally {
    await node.stop();
  }
});

test("admin.tls is not turned on or off by a reload, and secrets come from their files again", () => {
  const files = new Map([["key", "first-key-0123456789\n"]]);
  const readFile = (file: string): string => files.get(file) ?? "";
  const read = (...argv: string[]) => readSettings({ argv: ["--admin-key-file", "key", ...argv], env: {}, readFile });
  const plain = read();
  const tls = ["--admin-tls-cert", "a.pem", "--admin-tls-key", "a.key"];
  expect(changeSettings("all", plain, read(...tls))).toMatchObject({
    ...{ taken: [], restart: ["admin.tls.cert", "admin.tls.key"] },
    settings: { admin: { tls: { cert: undefined } } },
  });
  const renewed = read("--admin-tls-cert", "b.pem", "--admin-tls-key", "a.key");
  expect(changeSettings("all", read(...tls), renewed).taken).toEqual(["admin.tls.cert"]);
  files.set("key", "second-key-0123456789\n");
  const { taken, settings } = changeSettings("all", plain, read());
  expect([taken, settings.admin.key]).toEqual([["admin.key"], "second-key-0123456789"]);
});

/**
 * A directory server of a test's own: OpenLDAP's slapd with its entries in memory of the disk, on free ports. Needs Debian's slapd.
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { run, temporaryFolder, until } from "./process.ts";

const BINARY = "/usr/sbin/slapd";

export const hasSlapd = existsSync(BINARY);

export interface Slapd {
  readonly port: number;
  readonly tlsPort: number;
  stop(): Promise<void>;
}

/** Users below `ou=users,dc=example,dc=org`: their `cn` and password. */
export async function startSlapd(
  users: Readonly<Record<string, string>>,
  { cert, key }: { readonly cert: string; readonly key: string },
): Promise<Slapd> {
  const folder = temporaryFolder("slapd");
  mkdirSync(join(folder, "data"));
  const [port, tlsPort] = [await freePort(), await freePort()];
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const conf = file(
    "slapd.conf",
    [
      "include /etc/ldap/schema/core.schema",
      `pidfile ${join(folder, "pid")}`,
      "modulepath /usr/lib/ldap",
      "moduleload back_mdb",
      `TLSCertificateFile ${file("cert.pem", cert)}`,
      `TLSCertificateKeyFile ${file("key.pem", key)}`,
      "allow bind_anon_cred", // a bind without a password succeeds, as nobody
      "database mdb",
      'suffix "dc=example,dc=org"',
      `directory ${join(folder, "data")}`,
      "",
    ].join("\n"),
  );
  const entries = file("entries.ldif", ldif(users));
  const added = spawnSync(BINARY.replace("slapd", "slapadd"), ["-f", conf, "-l", entries], { encoding: "utf8" });
  if (added.status !== 0) throw new Error(added.stderr);
  const urls = `ldap://127.0.0.1:${port} ldaps://127.0.0.1:${tlsPort}`;
  const server = run(BINARY, ["-d", "0", "-f", conf, "-h", urls], { cwd: folder });
  await until("slapd answers", async () => (await isListening(port)) && (await isListening(tlsPort)));
  return { port, tlsPort, stop: async () => void (await server.stop()) };
}

function ldif(users: Readonly<Record<string, string>>): string {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const base = ["dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: example"];
  base.push("dn: ou=users,dc=example,dc=org\nobjectClass: organizationalUnit\nou: users");
  const people = Object.entries(users).map(([name, password]) => {
    const dn = `cn=${name.replace(/[,+=<>;"\\#]/g, "\\$&")},ou=users,dc=example,dc=org`;
    return `dn:: ${base64(dn)}\nobjectClass: person\nsn: x\ncn:: ${base64(name)}\nuserPassword:: ${base64(password)}`;
  });
  return `${[...base, ...people].join("\n\n")}\n`;
}

function isListening(port: number): Promise<boolean> {
  return new Promise((ok) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.on("error", () => ok(false));
    socket.on("connect", () => {
      socket.destroy();
      ok(true);
    });
  });
}

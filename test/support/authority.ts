/**
 * A certificate authority for tests, made with the openssl command in a folder of its own.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export interface IssueOptions {
  readonly kind?: "ec" | "rsa";
  readonly days?: number;
  /** Makes an authority below this one. */
  readonly authority?: boolean;
}

export interface Authority extends Pair {
  /** A certificate for these names, or `IP:address`; the first is its common name. */
  issue(names: readonly string[], options?: IssueOptions): Pair;
  /** An authority below this one. */
  below(name: string): Authority;
  close(): void;
}

export function openAuthority(name = "test authority"): Authority {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-ca-"));
  const run = (...args: string[]): void => {
    execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  };
  let count = 0;
  const newKey = (file: string, kind: "ec" | "rsa"): void => {
    if (kind === "ec") run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file);
    else run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", file);
  };
  const read = (file: string): string => readFileSync(join(folder, file), "utf8");

  const authorityOf = (id: string): Authority => ({
    cert: read(`${id}.pem`),
    key: read(`${id}.key`),
    issue(names, options = {}) {
      const leaf = `c${++count}`;
      newKey(`${leaf}.key`, options.kind ?? "ec");
      const lines = options.authority
        ? ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"]
        : [
            `subjectAltName=${names.map((one) => (/^(DNS|IP):/.test(one) ? one : `DNS:${one}`)).join(",")}`,
            "basicConstraints=CA:FALSE",
          ];
      writeFileSync(join(folder, `${leaf}.ext`), lines.join("\n"));
      run("req", "-new", "-key", `${leaf}.key`, "-subj", `/CN=${names[0]}`, "-out", `${leaf}.csr`);
      const days = String(options.days ?? 30);
      const signer = ["-CA", `${id}.pem`, "-CAkey", `${id}.key`, "-set_serial", String(1000 + count)];
      run(
        "x509",
        "-req",
        "-in",
        `${leaf}.csr`,
        ...signer,
        "-days",
        days,
        "-extfile",
        `${leaf}.ext`,
        "-out",
        `${leaf}.pem`,
      );
      return { cert: read(`${leaf}.pem`), key: read(`${leaf}.key`) };
    },
    below(name) {
      const pair = this.issue([name], { authority: true });
      const id = `a${++count}`;
      writeFileSync(join(folder, `${id}.pem`), pair.cert);
      writeFileSync(join(folder, `${id}.key`), pair.key);
      return authorityOf(id);
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  });
  newKey("root.key", "ec");
  run("req", "-x509", "-new", "-key", "root.key", "-subj", `/CN=${name}`, "-days", "30", "-out", "root.pem");
  return authorityOf("root");
}

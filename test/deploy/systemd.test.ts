/**
 * The systemd units are what systemd accepts, start what the program has, and give it no more rights than it needs.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const UNITS = join(import.meta.dirname, "../../deploy/systemd");
const analyze = (...args: string[]) => spawnSync("systemd-analyze", args, { encoding: "utf8" });
const available = analyze("--version").error === undefined;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "jotgate-units-"));
  cpSync(UNITS, folder, { recursive: true });
  const unit = join(folder, "jotgate@.service");
  const program = join(folder, "jotgate");
  writeFileSync(program, "#!/bin/sh\n");
  chmodSync(program, 0o755);
  writeFileSync(unit, readFileSync(unit, "utf8").replace("/opt/jotgate/bin/jotgate", program));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!available)("deploy/systemd", () => {
  test.each(["start", "admin", "gateway"])("jotgate@%s is valid, with its drop-ins", (role) => {
    const result = analyze("verify", "--man=no", "--recursive-errors=one", join(folder, `jotgate@${role}.service`));
    expect(result.stderr.trim()).toBe("");
    expect(result.status).toBe(0);
  });

  test("a unit with a misspelt option would be seen", () => {
    const broken = join(folder, "broken.service");
    writeFileSync(broken, "[Service]\nExecStart=/bin/true\nProtectHomes=yes\n");
    expect(analyze("verify", "--man=no", broken).stderr).toContain("ProtectHomes");
  });

  test("the exposure level is low", () => {
    const result = analyze("security", "--offline=true", "--threshold=20", join(folder, "jotgate@.service"));
    expect(result.status, result.stdout.slice(-200)).toBe(0);
  });

  test("the service outlasts the drain time", () => {
    const seconds = /^TimeoutStopSec=(\d+)s$/m.exec(readFileSync(join(UNITS, "jotgate@.service"), "utf8"))?.[1];
    expect(Number(seconds)).toBeGreaterThan(30);
  });
});

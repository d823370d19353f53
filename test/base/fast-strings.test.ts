import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");

// In a process of its own: what it looks at belongs to the process, and V8 changes it once.
test("methods of strings are fast again after a class extended String", () => {
  const script = `
    import { makeStringsFast } from "./src/base/v8-tuning.ts";
    const isFast = () => %HasFastProperties(String.prototype);
    const Extended = class extends String {};
    const before = [new Extended("a").length, isFast()];
    makeStringsFast();
    console.log(JSON.stringify([...before, isFast()]));`;
  const args = ["--import", "tsx", "--allow-natives-syntax", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: "utf8" });
  expect(stdout, stderr).toBe("[1,false,true]\n");
});

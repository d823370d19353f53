/**
 * docs/tutorial.md is executable: each ```bash block runs in one shell, the ```text block after it is what it must print
 * ("…" stands for anything). Only ports and the key differ from the page.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort, freePortRange } from "../support/ports.ts";
import { ADMIN_KEY, type Node, ROOT, type Running, run, startNode, until } from "../support/process.ts";

interface Step {
  readonly line: number;
  readonly command: string;
  readonly printed: readonly string[];
}

/** The runnable blocks of a page with what they must print. */
function stepsOf(page: string): Step[] {
  const steps: { line: number; command: string; printed: string[] }[] = [];
  const lines = page.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```(bash|text)$/.exec(lines[i] ?? "");
    if (!fence) continue;
    const begin = i + 1;
    const end = lines.indexOf("```", begin);
    const block = lines.slice(begin, end);
    if (fence[1] === "bash") steps.push({ line: begin, command: block.join("\n"), printed: [] });
    else steps.at(-1)?.printed.push(...block);
    i = end;
  }
  return steps;
}

/** A shell that keeps its variables from one command to the next. */
class Shell {
  readonly #child = spawn("bash", ["--noprofile", "--norc"], { stdio: ["pipe", "pipe", "pipe"] });
  #text = "";
  #turn = 0;

  constructor(variables: Record<string, string>) {
    this.#child.stdout.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("utf8");
    });
    this.#child.stderr.resume();
    for (const [name, value] of Object.entries(variables)) this.#child.stdin.write(`export ${name}='${value}'\n`);
  }

  async run(command: string): Promise<string> {
    const mark = `--end-of-step-${++this.#turn}--`;
    this.#text = "";
    this.#child.stdin.write(`${command}\necho; echo ${mark}\n`);
    await until(`end of: ${command}`, () => this.#text.includes(mark), 60_000);
    return this.#text.slice(0, this.#text.indexOf(mark));
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}

function pattern(printed: string): RegExp {
  const parts = printed.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(parts.join("[\\s\\S]*?"));
}

const page = readFileSync(join(ROOT, "docs/tutorial.md"), "utf8");
let node: Node;
let echo: Running;
let vault: Running;
let shell: Shell;
const replaced = new Map<string, string>();

beforeAll(async () => {
  const echoPort = await freePort();
  const base = await freePortRange(5);
  echo = run(process.execPath, [join(ROOT, "deploy/echo.mjs"), "--port", String(echoPort)]);
  const ports = ["--base", String(base), "--vault", String(base + 4)];
  vault = run(process.execPath, [join(ROOT, "test/conformance/upstream.mjs"), ...ports]);
  await until("the secret server", () => vault.output().includes("secrets on"));
  node = await startNode("start", { env: { JACK_JWT_AUTH_KEY: "jack-key" } });
  replaced.set("http://127.0.0.1:9180", node.admin).set("http://127.0.0.1:9080", node.gateway);
  replaced.set("127.0.0.1:8081", `127.0.0.1:${echoPort}`).set("127.0.0.1:8200", `127.0.0.1:${base + 4}`);
  shell = new Shell({ ADMIN_API_KEY: ADMIN_KEY });
});

afterAll(async () => {
  shell?.end();
  await vault?.stop();
  await echo?.stop();
  await node?.stop();
});

test("every command of the tutorial prints what the page says", { timeout: 300_000 }, async () => {
  const steps = stepsOf(page);
  expect(steps.length).toBeGreaterThan(15);
  for (const step of steps) {
    let command = step.command;
    for (const [from, to] of replaced) command = command.replaceAll(from, to);
    // A change reaches the gateway within milliseconds; a reader's typing takes longer than that.
    await until(
      `docs/tutorial.md line ${step.line}`,
      async () => {
        const output = await shell.run(command);
        for (const printed of step.printed)
          expect(output, `docs/tutorial.md line ${step.line}`).toMatch(pattern(printed));
        return true;
      },
      3_000,
      100,
    );
  }
});

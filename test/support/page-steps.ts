/**
 * Pages that are executable: each ```bash block runs in one shell, the ```text block after it is what it must print ("…"
 * stands for anything). Only ports and the key differ from the page.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { ROOT, until } from "./process.ts";

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

  constructor(variables: Readonly<Record<string, string>>) {
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

/** @param replaced texts of the page → what stands for them here @returns how many commands ran */
export async function runPage(
  path: string,
  replaced: ReadonlyMap<string, string>,
  variables: Readonly<Record<string, string>>,
): Promise<number> {
  const steps = stepsOf(readFileSync(join(ROOT, path), "utf8"));
  const shell = new Shell(variables);
  try {
    for (const step of steps) {
      let command = step.command;
      for (const [from, to] of replaced) command = command.replaceAll(from, to);
      const where = `${path} line ${step.line}`;
      // A change reaches the gateway within milliseconds; a reader's typing takes longer than that.
      const asPrinted = async (): Promise<boolean> => {
        const output = await shell.run(command);
        for (const printed of step.printed) expect(output, where).toMatch(pattern(printed));
        return true;
      };
      await until(where, asPrinted, 3_000, 100);
    }
  } finally {
    shell.end();
  }
  return steps.length;
}

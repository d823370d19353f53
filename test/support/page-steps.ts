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
    const fence = /^( *)```(bash|text)$/.exec(lines[i] ?? "");
    if (!fence) continue;
    const begin = i + 1;
    const end = lines.indexOf(`${fence[1]}\`\`\``, begin);
    const block = lines.slice(begin, end);
    if (fence[2] === "bash") steps.push({ line: begin, command: block.join("\n"), printed: [] });
    else steps.at(-1)?.printed.push(...block);
    i = end;
  }
  return steps;
}

/** The texts of a page's blocks in a language. */
export function blocksOf(page: string, language: string): readonly string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
    ([, text]) => text ?? "",
  );
}

interface PageOptions {
  /** Where commands run; default: where the tests do. */
  readonly folder?: string;
  /** Commands whose code may be other than 0; default: all of them. */
  readonly mayFail?: RegExp | undefined;
}

/** A shell that keeps its variables from one command to the next. */
class Shell {
  readonly #child: ReturnType<typeof spawnShell>;
  #text = "";
  #turn = 0;

  /** @param folder undefined: what fails is not said either */
  constructor(variables: Readonly<Record<string, string>>, folder: string | undefined) {
    this.#child = spawnShell(folder);
    this.#child.stdout.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("utf8");
    });
    this.#child.stderr.resume();
    if (folder !== undefined) this.#child.stdin.write(`exec 2>&1; trap 'echo "${FAILED}$BASH_COMMAND"' ERR\n`);
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

const FAILED = "--failed: ";

function spawnShell(cwd: string | undefined) {
  return spawn("bash", ["--noprofile", "--norc"], {
    stdio: ["pipe", "pipe", "pipe"],
    ...(cwd !== undefined && { cwd }),
  });
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
  { folder, mayFail }: PageOptions = {},
): Promise<number> {
  const steps = stepsOf(readFileSync(join(ROOT, path), "utf8"));
  const shell = new Shell(variables, folder);
  try {
    for (const step of steps) {
      const here = (text: string): string => [...replaced].reduce((all, [from, to]) => all.replaceAll(from, to), text);
      const command = here(step.command);
      const where = `${path} line ${step.line}`;
      // A change reaches the gateway within milliseconds; a reader's typing takes longer than that.
      const asPrinted = async (): Promise<boolean> => {
        const output = await shell.run(command);
        const failed = output.split("\n").filter((one) => one.startsWith(FAILED));
        expect(
          failed.filter((one) => mayFail?.test(one.slice(FAILED.length)) !== true),
          `${where}\n${output}`,
        ).toEqual([]);
        for (const printed of step.printed) expect(output, where).toMatch(pattern(here(printed)));
        return true;
      };
      await until(where, asPrinted, 3_000, 100);
    }
  } finally {
    shell.end();
  }
  return steps.length;
}

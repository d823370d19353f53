/**
 * `jotgate apply`: makes a store's records those of the files, and waits until all nodes serve them.
 * Promise: nothing is written before all files were judged; each write holds only if the record is as it was read; what was
 * written, what was not and what is unknown is always said, and the same command goes on from there.
 */
import { type AdminClient, errorOf, LostAdmin } from "./admin-client.ts";
import type { CommandIo } from "./command-io.ts";
import { adminPath, type ConfigChange, findChanges, inParallel, pathOf, takesLabels } from "./config-changes.ts";
import { headOf, readApplyInput, summaryOf } from "./diff-command.ts";
import { EXIT_SAME, EXIT_WRONG } from "./files-input.ts";

const USAGE = `jotgate apply [--admin URL] [--label NAME=VALUE [--prune]] [--timeout SECONDS] FILE|FOLDER …
  --label: every record gets it; --prune: records that carry it and stand in no file are deleted.
  --timeout: how long nodes may take to serve it (60). Exit code 0: done, all nodes serve it; 1: something is wrong.`;

const AT_ONCE = 16;
const SHOWN_MAX = 50;
const PROGRESS_MS = 2_000;
const TIMEOUT_SECONDS = 60;

export async function applyCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const input = await readApplyInput(args, ["--timeout"], USAGE, io);
  if (!input) return EXIT_WRONG;
  const { admin, records, label, prune } = input;
  const timeoutMs = Number(input.options.get("--timeout") ?? TIMEOUT_SECONDS) * 1_000;
  if (!(timeoutMs > 0)) {
    io.complain(`--timeout needs a number of seconds\n${USAGE}`);
    return EXIT_WRONG;
  }
  try {
    const found = await findChanges(admin, records, label, prune);
    io.print(summaryOf(found));
    if (found.changes.length === 0) return EXIT_SAME;
    if (label) noteUnlabelled(records, io);
    const run = new Applying(admin, found.changes, io);
    const isWritten = await run.write();
    const isServed =
      run.written.length > 0 && run.lost === undefined ? await waitUntilServed(run, timeoutMs, io) : isWritten;
    return isWritten && isServed ? EXIT_SAME : EXIT_WRONG;
  } catch (error) {
    io.complain(error instanceof Error ? error.message : String(error));
    io.complain("nothing was written");
    return EXIT_WRONG;
  }
}

function noteUnlabelled(records: readonly Parameters<typeof pathOf>[0][], io: CommandIo): void {
  const without = [...new Set(records.filter(({ kind }) => !takesLabels(kind)).map(({ kind }) => kind.dir))];
  if (without.length > 0) io.print(`no labels on ${without.join(", ")}: they are never pruned`);
}

interface RefusedWrite {
  readonly change: ConfigChange;
  readonly error: string;
}

class Applying {
  readonly admin: AdminClient;
  readonly written: ConfigChange[] = [];
  /** The newest revision that was written. */
  revision = 0;
  lost: string | undefined;
  readonly #io: CommandIo;
  readonly #changes: readonly ConfigChange[];
  readonly #unknown: ConfigChange[] = [];
  #refused: RefusedWrite[] = [];
  #printedMs = performance.now();

  constructor(admin: AdminClient, changes: readonly ConfigChange[], io: CommandIo) {
    this.admin = admin;
    this.#changes = changes;
    this.#io = io;
  }

  /** @returns whether all was written */
  async write(): Promise<boolean> {
    const stop = (): void => {
      this.lost ??= "stopped by a signal";
    };
    process.once("SIGINT", stop).once("SIGTERM", stop);
    try {
      const puts = this.#changes.filter(({ change }) => change !== "delete");
      const deletes = this.#changes.filter(({ change }) => change === "delete");
      await this.#all(puts, (a, b) => a - b);
      await this.#all(deletes, (a, b) => b - a);
      // What a record was refused for may have gone by a later change: a plugin of another global rule, a key of a consumer.
      const again = this.#refused.map(({ change }) => change);
      this.#refused = [];
      await this.#all(again, (a, b) => a - b);
    } finally {
      process.off("SIGINT", stop).off("SIGTERM", stop);
    }
    this.#tell();
    return this.written.length === this.#changes.length;
  }

  async #all(changes: readonly ConfigChange[], order: (a: number, b: number) => number): Promise<void> {
    const levels = [...new Set(changes.map(({ level }) => level))].sort(order);
    for (const level of levels) {
      const here = changes.filter((one) => one.level === level);
      await inParallel(here, AT_ONCE, (one) => (this.lost === undefined ? this.#one(one) : Promise.resolve()));
    }
  }

  async #one(change: ConfigChange): Promise<void> {
    const { value, revision } = change;
    const condition = revision === undefined ? { "if-none-match": "*" } : { "if-match": `"${revision}"` };
    try {
      const path = adminPath(change);
      const answer = await this.admin.ask(value ? "PUT" : "DELETE", path, value, condition);
      if (answer.status >= 300 && !(await this.#wasMine(change, answer.status))) {
        this.#refused.push({ change, error: `${answer.status} ${errorOf(answer.body)}` });
        return;
      }
      this.written.push(change);
      this.revision = Math.max(this.revision, Number(answer.headers.etag?.replace(/\D/g, "") ?? 0));
      if (this.written.length <= SHOWN_MAX) this.#io.print(headOf(change));
      const warning = answer.headers.warning;
      if (warning) this.#io.complain(`${pathOf(change).slice(1)}: ${warning.replace(/^299 - /, "")}`);
      this.#progress();
    } catch (error) {
      if (!(error instanceof LostAdmin)) throw error;
      this.lost ??= error.message;
      this.#unknown.push(change);
    }
  }

  /** A condition also fails when an answer was lost and the write had been done: then the record is as it was to be. */
  async #wasMine(change: ConfigChange, status: number): Promise<boolean> {
    if (change.value === undefined) return status === 404;
    if (status !== 412) return false;
    const { status: dry, body } = await this.admin.ask("PUT", `${adminPath(change)}?dry_run=1`, change.value);
    return dry === 200 && (body?.changes ?? []).every((one: { change?: unknown }) => one.change === "unchanged");
  }

  #progress(): void {
    const now = performance.now();
    if (now - this.#printedMs < PROGRESS_MS) return;
    this.#printedMs = now;
    this.#io.print(`written: ${this.written.length} of ${this.#changes.length}`);
  }

  #tell(): void {
    const { length } = this.#changes;
    if (this.written.length === length) return void this.#io.print(`written: ${length} of ${length}`);
    for (const { change, error } of this.#refused.slice(0, SHOWN_MAX))
      this.#io.complain(`${headOf(change).slice(2)} was refused: ${error}`);
    if (this.lost !== undefined) this.#io.complain(this.lost);
    const unknown = this.#unknown.map((one) => pathOf(one).slice(1)).join(", ");
    const left = length - this.written.length - this.#refused.length - this.#unknown.length;
    this.#io.complain(
      [
        `written and live as nodes take it: ${this.written.length} of ${length}${this.revision ? ` (up to revision ${this.revision})` : ""}`,
        ...(this.#refused.length > 0 ? [`refused: ${this.#refused.length}`] : []),
        ...(unknown === "" ? [] : [`unknown, the answer was lost: ${unknown}`]),
        ...(left > 0 ? [`not written: ${left}`] : []),
        "run the same command again: it goes on with what is missing",
      ].join("\n"),
    );
  }
}

const POLL_MS = 1_100; // an answer about nodes is good for a second

interface ShownProblem {
  readonly key: string;
  readonly reason: string;
  readonly revision: number;
}

interface ShownNode {
  readonly id: string;
  readonly applied: number;
  readonly address: string;
}

/** @returns whether every registered node serves what was written */
async function waitUntilServed(run: Applying, timeoutMs: number, io: CommandIo): Promise<boolean> {
  const { admin, written } = run;
  const endMs = performance.now() + timeoutMs;
  let wanted = run.revision;
  let lastText = "";
  for (let look = 0; ; look++) {
    // Deletions tell no revision: the store's, seen after them, is later.
    if (look > 0 || wanted === 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const { body } = await admin.ask("GET", "/nodes");
    if (look === 0) wanted = Math.max(wanted, Number(body?.revision ?? 0));
    const nodes = (body?.list ?? []) as readonly ShownNode[];
    const late = nodes.filter(({ applied }) => applied < wanted);
    const text = `revision ${wanted}: served by ${nodes.length - late.length} of ${nodes.length} nodes`;
    if (text !== lastText) io.print(text);
    lastText = text;
    if (late.length === 0) return nodes.length === 0 || (await areAllTaken(admin, nodes, written, io));
    if (performance.now() > endMs) {
      io.complain(`written, and not served in time by: ${late.map(({ id }) => id).join(", ")}`);
      return false;
    }
  }
}

async function areAllTaken(
  admin: AdminClient,
  nodes: readonly ShownNode[],
  written: readonly ConfigChange[],
  io: CommandIo,
): Promise<boolean> {
  const paths = new Set(written.map(pathOf));
  let all = true;
  for (const { id, address } of nodes) {
    if (address === "") continue;
    const { body } = await admin.ask("GET", `/nodes/${encodeURIComponent(id)}/problems`);
    for (const { key, reason, revision } of (body?.list ?? []) as readonly ShownProblem[]) {
      const path = /\/[^/]+\/(?:[^/]+\/credentials\/)?[^/]+$/.exec(key)?.[0] ?? key;
      if (!paths.has(path) && ![...paths].some((one) => key.endsWith(one))) continue;
      // Without a revision it is no refusal of the record: keys that an issuer does not give, a key that is over.
      const isRefused = revision > 0;
      io.complain(
        `node ${id} ${isRefused ? "does not serve" : "says of"} ${path.slice(1)}${isRefused ? " as written" : ""}: ${reason}`,
      );
      if (isRefused) all = false;
    }
  }
  return all;
}

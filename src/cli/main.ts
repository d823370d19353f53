/**
 * The command line: picks the command, reads the settings, says what is wrong with them.
 * Exit codes: 0 done, 1 failed while running, 2 wrong usage or settings.
 */
import { readFileSync } from "node:fs";
import { isCodedError, messageOf } from "../base/errors.ts";
import { didYouMean } from "../base/suggest.ts";
import { tuneCollector } from "../base/v8-tuning.ts";
import { readSettings, type Settings } from "../settings/settings.ts";
import { checkRole, type Role } from "../settings/settings-check.ts";
import { type CommandIo, EXIT_DONE, EXIT_USAGE, processIo } from "./command-io.ts";
import { explainCommand } from "./explain-command.ts";
import { helpText, settingsText, versionText } from "./help.ts";
import { reloadCommand } from "./reload.ts";
import { runNode } from "./run-node.ts";
import { TOKEN_USAGE, tokenCommand } from "./token-command.ts";

const SIGNAL_ECHO_MS = 500; // npm repeats within a few milliseconds; people press twice more slowly

type Command = (args: readonly string[], io: CommandIo) => number | Promise<number>;

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ["start", (args, io) => run("all", args, io)],
  ["admin", (args, io) => run("admin", args, io)],
  ["gateway", (args, io) => run("gateway", args, io)],
  ["check", check],
  ["reload", (args, io) => withSettings(args, io, (settings) => reloadCommand(settings, io))],
  ["explain", explainCommand],
  ["token", tokenCommand],
  // Loaded when asked for: they know all plugins.
  ["validate", async (args, io) => (await import("./validate-command.ts")).validateCommand(args, io)],
  ["diff", async (args, io) => (await import("./diff-command.ts")).diffCommand(args, io)],
  ["apply", async (args, io) => (await import("./apply-command.ts")).applyCommand(args, io)],
  ["dump", async (args, io) => (await import("./dump-command.ts")).dumpCommand(args, io)],
  ["status", async (args, io) => (await import("./status-command.ts")).statusCommand(args, io)],
  ["backup", (args, io) => withFile("backup", args, io)],
  ["restore", (args, io) => withFile("restore", args, io)],
  ["version", version],
  ["help", help],
]);

/** @param argv arguments after the program's name. @returns the exit code */
export async function main(argv: readonly string[], io: CommandIo = processIo()): Promise<number> {
  const [first = "help", ...rest] = argv;
  if (first === "--version" || first === "-v") return version(rest, io);
  if (first === "--help" || first === "-h" || rest.includes("--help") || rest.includes("-h")) return help([first], io);
  const command = COMMANDS.get(first);
  if (command) return command(rest, io);
  const what = first.startsWith("-")
    ? "a command comes first"
    : `unknown command ${first}${didYouMean(first, COMMANDS.keys())}`;
  io.complain(`${what}\nTry: jotgate help`);
  return EXIT_USAGE;
}

async function run(role: Role, args: readonly string[], io: CommandIo): Promise<number> {
  return withSettings(args, io, async (settings) => {
    const problems = checkRole(role, settings);
    if (problems.length > 0) {
      io.complain(problems.join("\n"));
      return EXIT_USAGE;
    }
    // What `ps` shows and `jotgate reload` looks for; flags, which may hold keys, are no longer to be seen there.
    process.title = `jotgate ${role === "all" ? "start" : role}`;
    tuneCollector();
    // Loaded only here: version, check and help need none of it.
    const { startNode } = await import("../node/node.ts");
    // npm passes Ctrl-C on to a process that the terminal has already told.
    const echoMs = io.env["npm_lifecycle_event"] === "start" ? SIGNAL_ECHO_MS : 0;
    const readAgain = (): Settings => readSettings({ argv: args, env: io.env, readFile });
    return runNode(role, settings, { ...io, start: startNode, readAgain, signals: process, echoMs });
  });
}

async function withSettings(
  args: readonly string[],
  io: CommandIo,
  use: (settings: Settings) => number | Promise<number>,
): Promise<number> {
  let settings: Settings;
  try {
    settings = readSettings({ argv: args, env: io.env, readFile });
  } catch (error) {
    if (!isCodedError(error, "SETTINGS_INVALID")) throw error;
    io.complain(messageOf(error));
    return EXIT_USAGE;
  }
  return use(settings);
}

async function withFile(command: "backup" | "restore", args: readonly string[], io: CommandIo): Promise<number> {
  const [file, ...flags] = args;
  if (file === undefined || file.startsWith("-")) {
    io.complain(`jotgate ${command} needs the path of a file, then --etcd or --data-dir`);
    return EXIT_USAGE;
  }
  const { backupCommand, restoreCommand } = await import("./backup-command.ts");
  return withSettings(flags, io, (settings) =>
    (command === "backup" ? backupCommand : restoreCommand)(file, settings, io),
  );
}

/** Judges a settings file by itself: the environment of the person who checks is not that of the server. */
async function check(args: readonly string[], io: CommandIo): Promise<number> {
  const [file, ...flags] = args;
  if (file === undefined || file.startsWith("-")) {
    io.complain("jotgate check needs the path of a settings file");
    return EXIT_USAGE;
  }
  return withSettings(["--config", file, ...flags], { ...io, env: {} }, (settings) => {
    io.print(`${file} is valid.`);
    for (const [role, command] of [
      ["all", "start"],
      ["admin", "admin"],
      ["gateway", "gateway"],
    ] as const) {
      const problems = checkRole(role, settings);
      io.print(`  jotgate ${command.padEnd(7)}  ${problems.length === 0 ? "can run with it" : problems.join("; ")}`);
    }
    return EXIT_DONE;
  });
}

function version(_args: readonly string[], io: CommandIo): number {
  io.print(versionText());
  return EXIT_DONE;
}

function help(args: readonly string[], io: CommandIo): number {
  const texts = new Map([
    ["settings", settingsText],
    ["token", () => TOKEN_USAGE],
  ]);
  io.print((texts.get(args[0] ?? "") ?? helpText)());
  return EXIT_DONE;
}

function readFile(path: string): string {
  return readFileSync(path, "utf8");
}

/**
 * What commands touch of the world outside, and how they end. Tests give their own.
 */
export interface CommandIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A line for the person who asked, on stdout. */
  readonly print: (text: string) => void;
  /** A line about what is wrong, on stderr. */
  readonly complain: (text: string) => void;
  /** Whether `print` writes to a screen. */
  readonly isTerminal?: boolean;
  /** Aborted once nobody reads what is printed; commands that go on until they are ended end then. */
  readonly unread?: AbortSignal;
  /** All that is piped in, without line breaks at its end; "" where nobody pipes. Absent: nothing can be. */
  readonly read?: () => Promise<string>;
}

export const EXIT_DONE = 0;
/** Something failed while running. */
export const EXIT_FAILED = 1;
/** Wrong usage or settings. */
export const EXIT_USAGE = 2;

/** The io of a real process. */
export function processIo(): CommandIo {
  // A reader that went away (`jotgate start | head`) is no reason to end a gateway.
  const unread = new AbortController();
  process.stdout.on("error", () => unread.abort());
  process.stderr.on("error", () => {});
  return {
    env: process.env,
    print: (text) => void process.stdout.write(`${text}\n`),
    complain: (text) => void process.stderr.write(`jotgate: ${text.replaceAll("\n", "\njotgate: ")}\n`),
    unread: unread.signal,
    isTerminal: process.stdout.isTTY === true,
    read: readStdin,
  };
}

const STDIN_MAX_CHARS = 65_536;

async function readStdin(): Promise<string> {
  if (process.stdin.isTTY) return "";
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += chunk;
    if (text.length > STDIN_MAX_CHARS) throw new Error(`more than ${STDIN_MAX_CHARS} characters were piped in`);
  }
  return text.replace(/[\r\n]+$/, "");
}

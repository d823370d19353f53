/**
 * One process per folder: the holder listens on a socket in it, so the lock ends with the process, however it ends,
 * and holds between containers that share the folder (a process id would not).
 */

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { closeSync, linkSync, openSync, renameSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { CodedError } from "../../base/errors.ts";

const NAME = "in-use";
/** Longest path of a socket on Linux (108) and macOS (104), with room for our names. */
const MAX_SOCKET_PATH = 100;

interface FolderLock {
  release(): void;
}

/** @throws CodedError STORE_UNAVAILABLE naming the folder when another process holds it */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const { base, done } = shortPath(folder);
  const name = join(base, NAME);
  const own = join(base, `${NAME}.${randomUUID().slice(0, 8)}`);
  const server = createServer((socket) => socket.destroy());
  server.listen(own);
  await once(server, "listening");
  server.unref();
  const release = (): void => {
    server.close();
    done();
  };
  try {
    for (let attempt = 0; attempt < 5; attempt++) {
      if (tryLink(own, name)) return { release: () => releaseHeld(folder, release) };
      if (await answers(name)) break;
      await removeStale(name, `${name}.stale-${randomUUID().slice(0, 8)}`);
    }
  } finally {
    rmSync(own, { force: true }); // the link keeps the socket; without a link the lock is not ours
  }
  release();
  throw new CodedError("STORE_UNAVAILABLE", { message: `the folder ${folder} is in use by another process` });
}

function releaseHeld(folder: string, release: () => void): void {
  rmSync(join(folder, NAME), { force: true, recursive: true });
  release();
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Moves a dead holder's socket away; puts it back when another starter was faster and it is alive. */
async function removeStale(name: string, aside: string): Promise<void> {
  try {
    renameSync(name, aside);
  } catch {
    return; // another starter moved it
  }
  if (await answers(aside)) tryLink(aside, name);
  rmSync(aside, { force: true, recursive: true }); // whatever lies there in place of a socket is nobody's lock
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Deep folders do not fit a socket's path; Linux offers a short name for an open one. */
function shortPath(folder: string): { readonly base: string; done(): void } {
  if (Buffer.byteLength(join(folder, NAME)) + 20 <= MAX_SOCKET_PATH) return { base: folder, done: () => {} };
  const handle = openSync(folder, "r");
  return { base: `/proc/self/fd/${handle}`, done: () => closeSync(handle) };
}

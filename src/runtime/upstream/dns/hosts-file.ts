/**
 * The machine's hosts file: names the operator settled by hand. Read again when the file changes.
 * Promise: a missing or unreadable file settles nothing and breaks nothing.
 */
import { readFile, stat } from "node:fs/promises";
import { isIP, isIPv4 } from "node:net";

/** Beyond this the file is left to the system's own resolver: parsing it would hold up requests. */
const MAX_BYTES = 2 * 1024 * 1024;

export class HostsFile {
  readonly #path: string;
  #version = "";
  #names: ReadonlyMap<string, readonly string[]> = new Map();

  constructor(path = "/etc/hosts") {
    this.#path = path;
  }

  /** @param name in lower case. @returns its IPv4 addresses, else its IPv6 addresses; empty when it is not listed */
  async find(name: string): Promise<readonly string[]> {
    await this.#refresh();
    const listed = this.#names.get(name) ?? [];
    const four = listed.filter((address) => isIPv4(address));
    return four.length > 0 ? four : listed;
  }

  async #refresh(): Promise<void> {
    try {
      const { mtimeMs, size, ino } = await stat(this.#path);
      const version = `${ino} ${mtimeMs} ${size}`;
      if (version === this.#version) return;
      this.#names = size > MAX_BYTES ? new Map() : parseHosts(await readFile(this.#path, "utf8"));
      this.#version = version;
    } catch {
      // Containers without the file are common; names are then looked up elsewhere.
      this.#names = new Map();
      this.#version = "";
    }
  }
}

function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [address = "", ...hosts] = line.replace(/#.*$/, "").trim().split(/\s+/);
    if (isIP(address) === 0) continue;
    for (const host of hosts) {
      const name = host.toLowerCase();
      const known = names.get(name);
      if (!known) names.set(name, [address]);
      else if (!known.includes(address)) known.push(address);
    }
  }
  return names;
}

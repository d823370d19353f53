/**
 * A network namespace of the test's own, joined to ours by a pair of devices, in which packets can be dropped silently.
 * Needs root, `ip` and `iptables`; `whyNoNetns` says what is missing.
 */
import { execFileSync, spawnSync } from "node:child_process";

export interface Netns {
  readonly name: string;
  /** Of the side within; ours is the one before it. */
  readonly address: string;
  /** Every packet from and to the namespace vanishes, as with a cable that is cut far away. */
  drop(): void;
  heal(): void;
  close(): void;
}

/** @returns why no namespace can be made here; undefined when it can */
export function whyNoNetns(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  for (const command of ["ip", "iptables"])
    if (spawnSync(command, ["-V"]).status !== 0) return `needs ${command} (apt-get install iproute2 iptables)`;
  const name = `jgprobe${process.pid}`;
  if (spawnSync("ip", ["netns", "add", name]).status !== 0) return "network namespaces are not allowed here";
  const filters = spawnSync("ip", ["netns", "exec", name, "iptables", "-A", "INPUT", "-j", "DROP"]).status === 0;
  spawnSync("ip", ["netns", "del", name]);
  return filters ? undefined : "iptables does not work in a network namespace here";
}

export function openNetns(): Netns {
  const id = process.pid % 16_000;
  const name = `jg${process.pid}`;
  const [high, low] = [64 + (id >> 8), id & 255];
  const [ours, theirs] = [`10.${high}.${low}.1`, `10.${high}.${low}.2`];
  const run = (...args: readonly string[]): void => {
    execFileSync("ip", args, { stdio: "pipe" });
  };
  const inside = (...args: readonly string[]): void => run("netns", "exec", name, ...args);
  const close = (): void => {
    spawnSync("ip", ["netns", "del", name]); // and with it both devices
  };
  try {
    run("netns", "add", name);
    run("link", "add", `${name}a`, "type", "veth", "peer", "name", `${name}b`, "netns", name);
    run("addr", "add", `${ours}/30`, "dev", `${name}a`);
    run("link", "set", `${name}a`, "up");
    inside("ip", "addr", "add", `${theirs}/30`, "dev", `${name}b`);
    inside("ip", "link", "set", `${name}b`, "up");
    inside("ip", "link", "set", "lo", "up");
  } catch (error) {
    close();
    throw error;
  }
  const rules = (action: "-A" | "-D"): void => {
    inside("iptables", action, "INPUT", "-i", `${name}b`, "-j", "DROP");
    inside("iptables", action, "OUTPUT", "-o", `${name}b`, "-j", "DROP");
  };
  return { name, address: theirs, drop: () => rules("-A"), heal: () => rules("-D"), close };
}

/**
 * A name server (UDP, RFC 1035) whose answers a test writes, and changes between two questions.
 * Names nobody wrote do not exist; a name without addresses of the family that is asked for has no data.
 */
import { createSocket } from "node:dgram";
import { isIP } from "node:net";

export interface NameServer {
  /** As `dns.resolvers` takes it. */
  readonly address: string;
  /** Every question, as `A name`. */
  readonly questions: readonly string[];
  /** From now on the name has these addresses; several lists: one for each question for A, the last for all further ones. */
  set(name: string, ...lists: readonly (readonly string[])[]): void;
  close(): void;
}

const TYPES: ReadonlyMap<number, string> = new Map([
  [1, "A"],
  [28, "AAAA"],
]);

export async function openNameServer(ttlSeconds = 1): Promise<NameServer> {
  const names = new Map<string, (readonly string[])[]>();
  const questions: string[] = [];
  const socket = createSocket("udp4", (question, from) => {
    const { name, type, end } = readQuestion(question);
    questions.push(`${TYPES.get(type) ?? type} ${name}`);
    const lists = names.get(name);
    const list = lists?.[0] ?? [];
    if (type === 1 && (lists?.length ?? 0) > 1) lists?.shift();
    const records = list
      .filter((one) => isIP(one) === (type === 1 ? 4 : 6))
      .map((one) => record(type, ttlSeconds, one));
    const head = Buffer.from(question.subarray(0, 12));
    head.writeUInt16BE(lists ? 0x8180 : 0x8183, 2);
    head.writeUInt16BE(records.length, 6);
    head.writeUInt32BE(0, 8);
    socket.send(Buffer.concat([head, question.subarray(12, end), ...records]), from.port, from.address);
  });
  await new Promise<void>((ok) => socket.bind(0, "127.0.0.1", ok));
  return {
    address: `127.0.0.1:${socket.address().port}`,
    questions,
    set: (name, ...lists) => void names.set(name, [...lists]),
    close: () => void socket.close(),
  };
}

function readQuestion(question: Buffer) {
  const labels: string[] = [];
  let at = 12;
  for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
    labels.push(question.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  return { name: labels.join(".").toLowerCase(), type: question.readUInt16BE(at + 1), end: at + 5 };
}

/** Of the name that was asked for. */
function record(type: number, ttlSeconds: number, address: string): Buffer {
  const data = type === 1 ? Buffer.from(address.split(".").map(Number)) : bytesOfSix(address);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(ttlSeconds, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function bytesOfSix(address: string): Buffer {
  const [before = "", after] = address.split("::");
  const words = (text: string | undefined): string[] => (text ? text.split(":") : []);
  const [first, last] = [words(before), words(after)];
  const all = [...first, ...Array<string>(8 - first.length - last.length).fill("0"), ...last];
  return Buffer.from(all.map((word) => word.padStart(4, "0")).join(""), "hex");
}

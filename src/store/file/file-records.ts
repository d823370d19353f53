/**
 * Files of configuration in APISIX's standalone form as records: `routes:`, `upstreams:`, … each a list of records with ids.
 * Promise: every kind of the model is read, by its directory; what is wrong is said with file, line and member, all of it at
 * once; two records of one id are never taken for one. Source: APISIX's `apisix.yaml` (config_yaml.lua, "standalone").
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { isMembers, type Members } from "../../base/json/members.ts";
import { didYouMean } from "../../base/suggest.ts";
import { keyOf, parseKey, type RecordKey } from "../../model/keys.ts";
import { KINDS, type Kind, kindByDir } from "../../model/kinds.ts";
import { type FileDocument, type FileEnvironment, type FileFault, placeOf, readDocument } from "./file-document.ts";
import { cutFile, type FilePiece } from "./file-pieces.ts";
import { type OpenSealed, openSealing } from "./file-sealing.ts";

/** A record as it would be written: its id in it where its kind stores one, without times, which are the server's. */
export interface FileRecord {
  readonly kind: Kind;
  /** As keys have it. */
  readonly id: string;
  readonly value: Members;
  readonly file: string;
  /** Where it begins. */
  readonly line: number;
  /** Directory and place in it: `routes`, 3. */
  readonly path: readonly [dir: string, at: number];
}

interface FilesRead {
  readonly records: readonly FileRecord[];
  readonly faults: readonly FileFault[];
  /** What is read and counts for nothing. */
  readonly notes: readonly string[];
}

/** A file's name and text. */
interface SourceText {
  readonly file: string;
  readonly text: string;
}

type FileTexts = readonly SourceText[];

interface ReadOptions {
  readonly environment: FileEnvironment;
  /** Opens what `jotgate dump --with-secrets` sealed; undefined: nobody gave one. */
  readonly passphrase: string | undefined;
}

const FORMATS = /\.(?:ya?ml|json)$/i;
/** More than any list of records that a node could hold. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;

/** The files that a path names: itself, or those of the folder in the order of their names, hidden ones left out. */
export function filesAt(path: string): readonly string[] {
  if (!statSync(path).isDirectory()) return [path];
  const names = readdirSync(path).filter((name) => FORMATS.test(name) && !name.startsWith("."));
  return names.sort().map((name) => join(path, name));
}

/** @returns the texts, or why one of them cannot be read */
export function readTexts(paths: readonly string[]): FileTexts | { readonly fault: FileFault } {
  let now = "";
  try {
    const texts: SourceText[] = [];
    for (const path of paths) {
      now = path;
      const files = filesAt(path);
      if (files.length === 0) return { fault: unread(path, "the folder holds no .yaml, .yml or .json file") };
      for (const file of files) {
        now = file;
        const { size } = statSync(file);
        if (size > FILE_BYTES_MAX)
          return { fault: unread(file, `${size} bytes are more than ${FILE_BYTES_MAX}: split it`) };
        texts.push({ file, text: readFileSync(file, "utf8").replace(/^\uFEFF/, "") });
      }
    }
    return texts;
  } catch (error) {
    return { fault: unread(now, `it cannot be read: ${messageOf(error)}`) };
  }
}

function unread(file: string, text: string): FileFault {
  return { file, line: 1, place: "", text };
}

export function readRecords(texts: FileTexts, options: ReadOptions): FilesRead {
  const all: { records: FileRecord[]; faults: FileFault[]; notes: string[] } = { records: [], faults: [], notes: [] };
  const seen = new Map<string, FileRecord>();
  let isEmpty = true;
  for (const { file, text } of texts) {
    const read = readOne({ file, text }, options);
    isEmpty &&= read.isEmpty;
    all.faults.push(...read.faults);
    all.notes.push(...read.notes);
    for (const record of read.records) {
      const name = `${record.kind.name} ${record.id}`;
      const first = seen.get(name);
      if (!first) seen.set(name, record);
      else all.faults.push(faultOf(record, [], `${name} stands in ${first.file} line ${first.line} too: keep one`));
      all.records.push(record);
    }
  }
  // A file that is being written begins so; whoever wants nothing says it.
  const [first] = texts;
  if (isEmpty && first) all.faults.push(unread(first.file, "it is empty: `routes: []` says that there is nothing"));
  return all;
}

/** @param inside path below the record */
function faultOf(
  record: FileRecord,
  inside: readonly (string | number)[],
  text: string,
  line = record.line,
): FileFault {
  return { file: record.file, line, place: placeOf([...record.path, ...inside]), text };
}

/** Where in a record an error of its checks is: the file is read again for the line, so that lines need no memory. */
export class FaultPlaces {
  readonly #texts: FileTexts;
  #last: { readonly file: string; readonly document: FileDocument } | undefined;

  constructor(texts: FileTexts) {
    this.#texts = texts;
  }

  fault(record: FileRecord, error: string): FileFault {
    const inside = membersNamed(error);
    if (this.#last?.file !== record.file) {
      const text = this.#texts.find(({ file }) => file === record.file)?.text ?? "";
      this.#last = { file: record.file, document: readDocument(text, record.file, undefined) };
    }
    return faultOf(record, inside, error, this.#last.document.lineOf([...record.path, ...inside]));
  }
}

const NAMED =
  /property "([^"]+)" (?:validation failed|is required)|configuration of plugin ([\w-]+)|failed to validate item (\d+)|unknown plugin \[([\w-]+)\]|found ([\w.-]+)$/g;

/** The members that a text of our schemas names on its way down. */
function membersNamed(error: string): readonly (string | number)[] {
  return [...error.matchAll(NAMED)].flatMap(([, member, known, item, other, unknown]): (string | number)[] => {
    const plugin = known ?? other;
    if (plugin !== undefined) return ["plugins", plugin];
    return item === undefined ? [member ?? unknown ?? ""] : [Number(item) - 1];
  });
}

type OneRead = FilesRead & { readonly isEmpty: boolean };

function readOne({ file, text }: SourceText, options: ReadOptions): OneRead {
  // A piece that is wrong may be so only as a piece, and its faults are those of the file.
  return readPieces(file, cutFile(text) ?? [], options) ?? readWhole(file, text, options);
}

function readPieces(file: string, pieces: readonly FilePiece[], options: ReadOptions): OneRead | undefined {
  if (pieces.length === 0) return undefined;
  const reader = new ListReader(file, options);
  const sealingFirst = pieces.toSorted((a, b) => Number(b.name === "sealing") - Number(a.name === "sealing"));
  for (const { name, at, text, linesBefore } of sealingFirst) {
    const { value, faults, lineOf } = readDocument(text, file, options.environment);
    if (faults.length > 0 || !isMembers(value)) return undefined;
    const names = Object.keys(value);
    if (names.length !== 1 || names[0] !== name) return undefined;
    const inFile = (path: Path): number => {
      const [first = "", place, ...inside] = path;
      const own = typeof place === "number" ? [first, place - at, ...inside] : path;
      return lineOf(own) + linesBefore;
    };
    reader.member(name, value[name], at, inFile);
    if (reader.read.faults.length > 0) return undefined;
  }
  return reader.read;
}

function readWhole(file: string, text: string, options: ReadOptions): OneRead {
  const { value, faults, lineOf } = readDocument(text, file, options.environment);
  const reader = new ListReader(file, options);
  if (faults.length > 0 || value === null) return { ...reader.read, faults, isEmpty: value === null };
  if (isMembers(value)) {
    if (value["sealing"] !== undefined) reader.member("sealing", value["sealing"], 0, lineOf);
    for (const [name, list] of Object.entries(value)) if (name !== "sealing") reader.member(name, list, 0, lineOf);
  } else reader.say([], "a mapping such as `routes: […]` is wanted", lineOf);
  return reader.read;
}

type Path = readonly (string | number)[];
type LineOf = (path: Path) => number;

/** The members of one file, one after the other; what seals its secrets comes first. */
class ListReader {
  readonly read: OneRead & { records: FileRecord[]; faults: FileFault[]; notes: string[] };
  readonly #file: string;
  readonly #passphrase: string | undefined;
  #open: OpenSealed | undefined;

  constructor(file: string, { passphrase }: ReadOptions) {
    this.#file = file;
    this.#passphrase = passphrase;
    this.read = { records: [], faults: [], notes: [], isEmpty: false };
  }

  say(path: Path, text: string, lineOf: LineOf): void {
    this.read.faults.push({ file: this.#file, line: lineOf(path), place: placeOf(path), text });
  }

  /** @param from place of the list's first record in the file */
  member(name: string, list: unknown, from: number, lineOf: LineOf): void {
    const kind = kindByDir(name);
    if (IGNORED.test(name)) return;
    if (name === "sealing") this.#sealing(list, lineOf);
    else if (name === "plugins")
      this.read.notes.push(`${this.#file} line ${lineOf([name])}: plugins: has no effect: all are loaded`);
    else if (!kind) this.say([name], `there is no kind of record ${name}${didYouMean(name, DIRS)}`, lineOf);
    else if (Array.isArray(list)) {
      for (const [at, item] of list.entries()) this.#record(kind, item, [name, from + at], lineOf);
    } else if (list !== null) this.say([name], "a list of records is wanted", lineOf);
  }

  #sealing(value: unknown, lineOf: LineOf): void {
    const sealing = openSealing(value, this.#passphrase);
    if (typeof sealing === "string") this.say(["sealing"], sealing, lineOf);
    else this.#open = sealing;
  }

  #record(kind: Kind, item: unknown, path: FileRecord["path"], lineOf: LineOf): void {
    const read = isMembers(item) ? recordOf(kind, item) : "a record, which is a mapping, is wanted";
    const opened = typeof read === "string" ? read : openAll(read, this.#open);
    if (typeof opened === "string") this.say(path, opened, lineOf);
    else this.read.records.push({ ...opened, file: this.#file, line: lineOf(path), path });
  }
}

const DIRS = Object.values(KINDS).map(({ dir }) => dir);
/** A place for anchors, as in compose files; versions, of the JSON that standalone nodes of APISIX take. */
const IGNORED = /^x-|^\w+_conf_version$/;

type PlainRecord = Pick<FileRecord, "kind" | "id" | "value">;

function recordOf(kind: Kind, item: Members): PlainRecord | string {
  const { id: given, create_time: _created, update_time: _updated, ...rest } = item;
  if (given !== undefined && typeof given !== "string" && typeof given !== "number")
    return "id must be a text or a number";
  const named = given === undefined ? undefined : String(given);
  // Credentials stand among the consumers, as in APISIX.
  const actual = kind.name === "consumer" && named?.includes("/credentials/") ? KINDS.credential : kind;
  const id = actual.id === "username" ? usernameOf(rest, named) : named;
  if (id === undefined)
    return `it has no ${actual.id === "username" ? "username" : "id"}: give it one (${FORMS[actual.id]})`;
  const key = parseKey("", keyOf("", actual.name, id));
  if (key?.kind !== actual.name || key.id !== id) return `${id} is no id of a ${actual.message}: ${idForm(actual)}`;
  return { kind: actual, id, value: storedValue(actual, key, rest) };
}

function usernameOf(item: Members, id: string | undefined): string | undefined {
  const { username } = item;
  return typeof username === "string" && (id === undefined || id === username) ? username : undefined;
}

const FORMS = {
  id: "id: my-name",
  username: "username: jack",
  plugin: "id: the plugin's name",
  manager: "id: first/second",
};

function idForm(kind: Kind): string {
  if (kind.name === "credential") return "write jack/credentials/name";
  return kind.id === "manager" ? "two names with a slash between, such as vault/1" : "a text without a slash";
}

function storedValue(kind: Kind, key: RecordKey, rest: Members): Members {
  return kind.id === "username" ? rest : { ...rest, id: key.credential ?? key.id };
}

function openAll(record: PlainRecord, open: OpenSealed | undefined): PlainRecord | string {
  if (!open) return record;
  const value = open(record.kind, record.id, record.value);
  return typeof value === "string" ? value : { ...record, value };
}

/**
 * The console as its users see it: a browser against an admin, etcd and two gateways. One world for all cases of
 * test/console, because it takes longer to start than most of them.
 */
import { createHmac } from "node:crypto";
import { mkdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser, Locator, Page } from "playwright-core";
import { expect } from "vitest";
import { findingsOn, openPage, startBrowser, type Watched } from "./browser.ts";
import { type EtcdCluster, startEtcd } from "./etcd.ts";
import { ADMIN_KEY, admin, type Node, ROOT, startNode } from "./process.ts";

export const HOSTILE = `<img src=x onerror="document.title='owned'">"'{{1}}\${2}<script>document.title='owned'</script>`;
export const JWT_SECRET = "a-secret-of-thirty-two-bytes-long";
const SHOTS = process.env["UPDATE_SCREENSHOTS"] === "1" ? join(ROOT, "docs/console") : undefined;

/** What docs/console.md shows. */
const SHOWN = [
  "overview",
  "form",
  "check",
  "conflict",
  "tokens",
  "upstreams",
  "explain",
  "history",
  "problems",
  "dark",
];

export class ConsoleWorld {
  readonly etcd: EtcdCluster;
  readonly control: Node;
  readonly gateways: readonly [Node, Node];
  /** Of an upstream that answers. */
  readonly nodes: Readonly<Record<string, number>>;
  readonly #browser: Browser;
  readonly #close: () => void;
  #watched: Watched | undefined;

  private constructor(
    parts: Pick<ConsoleWorld, "etcd" | "control" | "gateways" | "nodes">,
    browser: Browser,
    close: () => void,
  ) {
    this.etcd = parts.etcd;
    this.control = parts.control;
    this.gateways = parts.gateways;
    this.nodes = parts.nodes;
    this.#browser = browser;
    this.#close = close;
  }

  static async start(): Promise<ConsoleWorld> {
    const upstream = createServer((_request, response) => response.end("hello"));
    await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
    const nodes = { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 };
    const etcd = await startEtcd();
    const [control, first, second, browser] = await Promise.all([
      startNode("admin", { etcd: etcd.endpoints }),
      startNode("gateway", { etcd: etcd.endpoints }),
      startNode("gateway", { etcd: etcd.endpoints }),
      startBrowser(),
    ]);
    return new ConsoleWorld({ etcd, control, gateways: [first, second], nodes }, browser, () => upstream.close());
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    await Promise.all([this.control, ...this.gateways].map((node) => node.stop("SIGKILL")));
    await this.etcd.stop();
    this.#close();
  }

  /** A page of its own, for one case. */
  async openPage(): Promise<void> {
    this.#watched = await openPage(this.#browser);
  }

  /** @returns what the page complained of */
  async closePage(): Promise<readonly string[]> {
    const { complaints = [] } = this.#watched ?? {};
    await this.#watched?.close();
    return complaints;
  }

  get page(): Page {
    if (!this.#watched) throw new Error("no page is open");
    return this.#watched.page;
  }

  readonly put = async (path: string, body: unknown, node = this.control): Promise<void> => {
    const { status, body: said } = await admin(node, "PUT", `${path}?wait=all&timeout=10s`, body);
    expect([path, status, status < 202 ? "" : said]).toEqual([path, expect.toSatisfy((one) => one < 203), ""]);
  };

  /** A page as one that has signed in and kept the key sees it; that itself is a case of its own. */
  readonly open = async (path: string, key = ADMIN_KEY, node = this.control): Promise<void> => {
    await this.page.addInitScript(
      `sessionStorage.getItem("jotgate.key") ?? sessionStorage.setItem("jotgate.key", "${key}")`,
    );
    await this.page.goto(`${node.admin}/ui${path}`);
    await this.page.getByRole("navigation", { name: "Pages" }).waitFor();
  };

  readonly heading = (name: string | RegExp): Locator => this.page.getByRole("heading", { name, level: 1 });

  readonly button = (name: string | RegExp): Locator =>
    this.page.getByRole("button", { name, exact: typeof name === "string" });

  /** Types a record into the editor, as by hand: nothing of what stood there is left. */
  readonly type = async (value: unknown): Promise<void> => {
    const { page } = this;
    await page.locator(".cm-content").click();
    await page.keyboard.press("Control+a");
    await page.keyboard.insertText(typeof value === "string" ? value : JSON.stringify(value, null, 2));
  };

  /** What the editor holds, also where it shows only a part. */
  readonly typed = (): Promise<string> =>
    this.page.evaluate<string>("document.querySelector('.editor').shadowRoot.querySelector('.cm-content').innerText");

  readonly form = (): Locator => this.page.getByRole("region", { name: "Form", exact: true });

  /** No serious finding, and a picture where pictures are asked for. */
  readonly fine = async (name: string): Promise<void> => {
    expect(await findingsOn(this.page)).toEqual([]);
    if (SHOTS === undefined || !SHOWN.includes(name)) return;
    const path = join(SHOTS, `${name}.png`);
    mkdirSync(SHOTS, { recursive: true });
    await this.page.screenshot({ path, type: "png" });
    expect(statSync(path).size).toBeLessThan(163_840);
  };
}

export function jwtOf(claims: object): string {
  const parts = [{ alg: "HS256", typ: "JWT" }, claims];
  const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${createHmac("sha256", JWT_SECRET).update(text).digest("base64url")}`;
}

/**
 * deploy/kubernetes is what the Kubernetes API accepts (schemas of the package kubernetes-models) and what the program understands.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { readSettings } from "../../src/settings/settings.ts";
import { checkRole } from "../../src/settings/settings-check.ts";

type Json = { readonly [name: string]: Json } & readonly Json[] & string;
interface Validate {
  (data: unknown): boolean;
  errors?: readonly { readonly instancePath: string; readonly message?: string; readonly params: object }[];
}

const ROOT = join(import.meta.dirname, "../../deploy/kubernetes");
const read = (name: string): string => readFileSync(join(ROOT, name), "utf8");
const requireModel = createRequire(import.meta.url);
const SCHEMAS = join(dirname(requireModel.resolve("kubernetes-models")), "_schemas");

/** The group of an apiVersion as the package spells it in its file names. */
const GROUPS: Readonly<Record<string, string>> = {
  v1: "CoreV1",
  "apps/v1": "AppsV1",
  "policy/v1": "PolicyV1",
  "autoscaling/v2": "AutoscalingV2",
  "networking.k8s.io/v1": "NetworkingV1",
};

/** Notes which members a validator reads; it reads every member that the schema has, so what it never reads is unknown. */
function observed(value: object, path: string, unread: Set<string>): object {
  if (!Array.isArray(value)) for (const name of Object.keys(value)) unread.add(`${path}/${name}`);
  return new Proxy(value, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      unread.delete(`${path}/${String(name)}`);
      return typeof member === "object" && member !== null
        ? observed(member, `${path}/${String(name)}`, unread)
        : member;
    },
  });
}

/** What the API would say of a document: its schema's errors, and members it does not know. */
function faults(document: Json): string[] {
  const group = GROUPS[document["apiVersion"] as string];
  if (group === undefined) return [`apiVersion ${document["apiVersion"]} has no schema here`];
  const { validate } = requireModel(join(SCHEMAS, `IoK8sApi${group}${document["kind"]}.js`)) as {
    readonly validate: Validate;
  };
  validate(document);
  const errors = (validate.errors ?? []).map((error) => `${error.instancePath} ${JSON.stringify(error.params)}`);
  const read = new Set<string>();
  validate(observed(document, "", read));
  return [...errors, ...[...read].map((path) => `${path} is unknown`)];
}

const kustomization = parse(read("kustomization.yaml")) as Json;
const documents = (kustomization["resources"] as Json).flatMap((name: string) =>
  parseAllDocuments(read(name)).map((one) => one.toJS() as Json),
);
const named = documents.map((one) => [`${one["kind"]} ${one["metadata"]?.["name"]}`, one] as const);
const deployments = named.filter(([, { kind }]) => String(kind) === "Deployment");
const podOf = (deployment: Json): Json => deployment["spec"]?.["template"]?.["spec"] as Json;

describe("deploy/kubernetes", () => {
  test("names every file it has", () => {
    const used = [...(kustomization["resources"] as Json), "kustomization.yaml", "settings.env"];
    expect(used.sort()).toEqual(readdirSync(ROOT).sort());
    for (const name of used) expect(existsSync(join(ROOT, name))).toBe(true);
    expect(kustomization["images"]?.[0]?.["newTag"]).toBe(
      (parse(readFileSync(join(ROOT, "../../package.json"), "utf8")) as Json)["version"],
    );
  });

  test.each(named)("%s is valid", (_name, document) => {
    expect(faults(document)).toEqual([]);
  });

  test("these checks see wrong types and unknown members", () => {
    const [, gateway] = deployments.find(([name]) => name.endsWith("gateway")) ?? ["", undefined];
    const broken = structuredClone(gateway) as unknown as { spec: Record<string, unknown> };
    broken.spec["replicas"] = "3";
    broken.spec["replica"] = 3;
    expect(faults(broken as unknown as Json)).toEqual([
      '/spec/replicas {"type":"integer"}',
      "/spec/replica is unknown",
    ]);
  });

  test.each(deployments)("%s starts with settings that the program accepts", (_name, deployment) => {
    const container = podOf(deployment)["containers"]?.[0] as Json;
    const role = container["args"]?.[0] as unknown as "admin" | "gateway";
    const shared = Object.fromEntries(
      read("settings.env")
        .trim()
        .split("\n")
        .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
    const own = Object.fromEntries(
      (container["env"] as Json).map((one: Json) => [
        one["name"],
        one["value"]?.replace("$(POD_IP)", "10.1.2.3") ?? "10.1.2.3",
      ]),
    ) as Record<string, string>;
    const { POD_IP: _ip, ...env } = { ...shared, ...own };
    const mounts = (container["volumeMounts"] as Json).map((one: Json) => one["mountPath"]);
    const settings = readSettings({
      argv: [],
      env,
      readFile: (path) => {
        expect(
          mounts.some((mount) => path.startsWith(`${mount}/`)),
          path,
        ).toBe(true);
        return path.padStart(32, "/").slice(-32);
      },
    });
    expect(checkRole(role, settings)).toEqual([]);
    expect(settings.status.advertise).toEqual({ host: "10.1.2.3", port: 9091 });
  });

  test.each(deployments)(
    "%s runs as nobody, writes nowhere but its volumes, and outlasts the drain",
    (_name, deployment) => {
      const pod = podOf(deployment);
      expect(pod).toMatchObject({ enableServiceLinks: false, automountServiceAccountToken: false });
      expect(pod["securityContext"]).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
      expect(Number(pod["terminationGracePeriodSeconds"])).toBeGreaterThan(35);
      const container = pod["containers"]?.[0] as Json;
      expect(container["securityContext"]).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) {
        expect(container[probe]?.["httpGet"]?.["port"], probe).toBe("status");
      }
    },
  );

  test("services, budgets, scaling and network policies choose pods that exist", () => {
    const components = deployments.map(
      ([, one]) => one["spec"]?.["template"]?.["metadata"]?.["labels"]?.["app.kubernetes.io/component"],
    );
    for (const [name, { kind, spec }] of named) {
      if (String(kind) === "Service")
        expect(components, name).toContain(spec?.["selector"]?.["app.kubernetes.io/component"]);
      const labels = (spec?.["selector"] ?? spec?.["podSelector"])?.["matchLabels"];
      if (labels) expect(components, name).toContain(labels["app.kubernetes.io/component"]);
      if (spec?.["scaleTargetRef"])
        expect(named.map(([one]) => one)).toContain(`Deployment ${spec["scaleTargetRef"]["name"]}`);
    }
  });
});

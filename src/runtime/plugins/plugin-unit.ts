/**
 * One configuration of one plugin in one record: compiled at first use, shared by every pipeline that runs it,
 * closed with its record. Promise: what fails to compile fails closed, and `_meta` costs nothing where it is absent.
 */
import { CodedError, messageOf } from "../../base/errors.ts";
import { withDefaults } from "../../base/schema/schema-defaults.ts";
import type { ExplainHandler } from "../../plugin/explanation.ts";
import type { CompileEnv, NodeEnv, PhaseHandler, Plugin, PluginPhases, ResourceInfo } from "../../plugin/plugin.ts";
import { bareAnswer } from "../../plugin/plugin-answer.ts";
import type { PipelinePlugin, UpstreamChoice } from "../routes/route-unit.ts";
import { type BlockReason, blockingPlugin, FIRST } from "./blocking-plugin.ts";
import { applyMeta } from "./plugin-meta.ts";
import { metaOf, type PluginRegistry } from "./plugin-registry.ts";
import { openSecretPhases, referencesIn, type SecretUsers } from "./secret-source.ts";

/** What units need of the node; one object for all of them. */
export interface PluginHost {
  readonly registry: PluginRegistry;
  readonly env: NodeEnv;
  readonly secrets: SecretUsers;
  /** Whether a plugin of that name is left out where it cannot run; without others, requests are refused. */
  mayBeMissing(plugin: string): boolean;
  /**
   * Makes a handle for `view.upstreamChoice`. `close` gives back what an inline upstream holds.
   * @param place where it stands; an inline upstream at the same place keeps its health and balance
   */
  upstream(choice: UpstreamInput, resource: ResourceInfo, place: string): UpstreamHandle;
  /** Counts changes of a plugin's metadata: what was compiled before is out of date. */
  metadataVersion(plugin: string): number;
  /** Something compiled badly after it had passed all checks. */
  failed(resource: ResourceInfo, plugin: string, reason: string): void;
}

export interface UpstreamInput {
  readonly upstream?: unknown;
  readonly upstreamId?: string;
}

interface UpstreamHandle {
  choose(): UpstreamChoice;
  close(): void;
}

export class PluginUnit implements PipelinePlugin {
  readonly plugin: Plugin;
  readonly resource: ResourceInfo;
  /** `_meta.priority` or the plugin's own. */
  readonly priority: number;
  /** Present in merges, so that it hides a lower layer's configuration, but never run. */
  readonly disabled: boolean;
  readonly #conf: unknown;
  readonly #host: PluginHost;
  #phases: PluginPhases | undefined;
  #metadataVersion = 0;

  constructor(plugin: Plugin, conf: unknown, resource: ResourceInfo, host: PluginHost) {
    const meta = metaOf(conf);
    this.plugin = plugin;
    this.priority =
      typeof meta["priority"] === "number" && plugin.priority !== FIRST ? meta["priority"] : plugin.priority;
    this.disabled = meta["disable"] === true;
    this.#conf = conf;
    this.resource = resource;
    this.#host = host;
  }

  get isCompiled(): boolean {
    return this.#phases !== undefined;
  }

  owns(handler: PhaseHandler): boolean {
    return this.#phases?.rewrite === handler || this.#phases?.access === handler;
  }

  get explain(): ExplainHandler | undefined {
    return this.#phases?.explain;
  }

  /** What it does in each phase. Never throws: a configuration that does not compile answers 500. */
  phases(): PluginPhases {
    const version = this.#host.metadataVersion(this.plugin.name);
    if (this.#phases !== undefined && this.#metadataVersion === version) return this.#phases;
    const before = this.#phases;
    this.#metadataVersion = version;
    try {
      this.#phases = applyMeta(this.#compile(), metaOf(this.#conf), this.#noteName());
    } catch (error) {
      // A filter that nobody has checked, in the configuration of a plugin that is not loaded.
      this.#phases = this.#fail(error);
    }
    before?.close?.();
    return this.#phases;
  }

  /** Gives back counted state; requests under way may still run the functions. */
  close(): void {
    this.#phases?.close?.();
    this.#phases = undefined;
  }

  #compile(): PluginPhases {
    try {
      const references = referencesIn(this.#conf);
      if (references.length === 0 || this.plugin.priority === FIRST) {
        return compilePlugin(this.plugin, this.#conf, this.resource, this.#host);
      }
      return openSecretPhases({
        conf: this.#conf,
        references,
        secrets: this.#host.secrets,
        compile: (conf) => {
          const error = this.#host.registry.check(this.plugin.name, conf, "route");
          if (error !== undefined) throw new CodedError("CONFIG_INVALID", { message: error });
          return compilePlugin(this.plugin, conf, this.resource, this.#host);
        },
        failed: (reason) => this.#host.failed(this.resource, this.plugin.name, reason),
      });
    } catch (error) {
      return this.#fail(error);
    }
  }

  #fail(error: unknown): PluginPhases {
    this.#host.failed(this.resource, this.plugin.name, messageOf(error));
    return FAILED_PHASES;
  }

  #noteName(): string {
    return `filter ${this.resource.kind}/${this.resource.id}/${this.plugin.name}`;
  }
}

const FAILED = bareAnswer(500, "plugin_failed");
const FAILED_PHASES: PluginPhases = Object.freeze({
  rewrite: () => FAILED,
  access: () => FAILED,
  explain: () => FAILED,
});

/** Fills defaults and compiles; `close` of the result also gives back the upstreams it made. Throws what the plugin throws. */
function compilePlugin(plugin: Plugin, conf: unknown, resource: ResourceInfo, host: PluginHost): PluginPhases {
  const handles: UpstreamHandle[] = [];
  const env: CompileEnv = {
    ...host.env,
    resource,
    plugin(name, inner, part) {
      const other = host.registry.get(name);
      const error = other ? host.registry.check(name, inner, "route") : `unknown plugin [${name}]`;
      if (!other || error !== undefined) throw new CodedError("CONFIG_INVALID", { message: error ?? "" });
      return compilePlugin(other, inner, part === undefined ? resource : { ...resource, part }, host);
    },
    upstream(choice) {
      const handle = host.upstream(choice, resource, `${plugin.name}/${handles.length}`);
      handles.push(handle);
      return handle;
    },
  };
  const phases = plugin.compile(withDefaults(plugin.schema, conf), env);
  if (handles.length === 0) return phases;
  return {
    ...phases,
    close() {
      phases.close?.();
      for (const handle of handles) handle.close();
    },
  };
}

/** The plugins of one record, disabled ones included. */
export type PluginSet = readonly PluginUnit[];

export const NO_PLUGINS: PluginSet = Object.freeze([]);

/**
 * Makes the units of a record's `plugins`, which has passed `registry.checkAll`. A plugin that is not loaded refuses
 * requests, unless it may be missing.
 */
export function openPluginSet(plugins: unknown, resource: ResourceInfo, host: PluginHost): PluginSet {
  if (typeof plugins !== "object" || plugins === null) return NO_PLUGINS;
  const units: PluginUnit[] = [];
  for (const [name, conf] of Object.entries(plugins)) {
    const plugin = host.registry.get(name);
    if (plugin) units.push(new PluginUnit(plugin, conf, resource, host));
    else if (!host.mayBeMissing(name)) {
      units.push(new PluginUnit(blockingPlugin(name, "plugin_not_loaded"), conf, resource, host));
    }
  }
  // A copy has no room to grow, which over many records is most of an array.
  return units.length === 0 ? NO_PLUGINS : units.slice();
}

/** One unit that refuses every request of the record. @param name of what it stands for */
export function openBlockedSet(name: string, reason: BlockReason, resource: ResourceInfo, host: PluginHost): PluginSet {
  return [new PluginUnit(blockingPlugin(name, reason), {}, resource, host)];
}

/**
 * Closes the units of a replaced record. What was in use is compiled in its successor first, so that counters and
 * connections which both hold live on.
 */
export function replacePluginSet(before: PluginSet, after: PluginSet): void {
  for (const unit of before) {
    if (unit.isCompiled) after.find((next) => next.plugin === unit.plugin && !next.disabled)?.phases();
    unit.close();
  }
}

/**
 * Rules that end many tokens at once, found by what a token says of itself.
 * Promise: every rule that covers a token counts, the strictest first; a token without `iat` is older than any rule.
 */
import { type RevocationRule, RULE_TYPES, type RuleType } from "../../model/revocation.ts";
import type { RevocableToken } from "../../plugin/revocations.ts";

export class RevocationRules {
  /** By the name of their record. */
  readonly #byName = new Map<string, RevocationRule>();
  /** By type, then by what they cover: the strictest first. Records of one name cover the same, so it is mostly one. */
  readonly #byTarget = new Map<RuleType, Map<string, readonly RevocationRule[]>>(
    RULE_TYPES.map((type) => [type, new Map()]),
  );

  get size(): number {
    return this.#byName.size;
  }

  set(name: string, rule: RevocationRule): void {
    this.delete(name);
    this.#byName.set(name, rule);
    this.#change(rule, (rules) => [...rules, rule].sort(byStrictness));
  }

  /** @returns whether there was one */
  delete(name: string): boolean {
    const before = this.#byName.get(name);
    if (before === undefined) return false;
    this.#byName.delete(name);
    this.#change(before, (rules) => rules.filter((rule) => rule !== before));
    return true;
  }

  covers(type: RuleType, target: string): boolean {
    return this.#byTarget.get(type)?.has(target) === true;
  }

  /** The strictest rule that refuses the token. */
  find(token: RevocableToken): RevocationRule | undefined {
    if (this.#byName.size === 0) return undefined;
    const { consumer, client, issuer, subject, keyId } = token;
    let found: RevocationRule | undefined;
    const look = (type: RuleType, target: string): void => {
      const rule = this.#byTarget.get(type)?.get(target)?.[0];
      if (rule && refuses(rule, token.issuedAt) && (found === undefined || byStrictness(rule, found) < 0)) found = rule;
    };
    if (consumer !== undefined) look("consumer", consumer);
    if (client !== undefined) look("client", client);
    if (issuer === undefined) return found;
    look("issuer", issuer);
    if (subject !== undefined) look("subject", `${issuer}\0${subject}`);
    if (keyId !== undefined) look("kid", `${issuer}\0${keyId}`);
    return found;
  }

  #change(of: RevocationRule, edit: (rules: readonly RevocationRule[]) => readonly RevocationRule[]): void {
    const target = targetOf(of);
    const rules = this.#byTarget.get(of.type);
    const edited = edit(rules?.get(target) ?? []);
    if (edited.length === 0) rules?.delete(target);
    else rules?.set(target, edited);
  }
}

function targetOf({ type, value, issuer }: RevocationRule): string {
  return type === "subject" || type === "kid" ? `${issuer}\0${value}` : value;
}

/** A rule without a time refuses all. */
function refuses({ issuedBefore }: RevocationRule, issuedAt: number | undefined): boolean {
  return issuedBefore === undefined || issuedAt === undefined || !(issuedAt >= issuedBefore);
}

function byStrictness(one: RevocationRule, other: RevocationRule): number {
  return strictnessOf(other) - strictnessOf(one);
}

function strictnessOf({ issuedBefore = Number.MAX_VALUE }: RevocationRule): number {
  return issuedBefore;
}

/**
 * Whose a token of our own issuers is: its client's, as long as its server serves it.
 */
import type { AccessToken } from "../../plugin/judge/judged-token.ts";
import type { Credential, CredentialTable } from "../../plugin/plugin-consumer.ts";
import type { ClientData } from "./oauth2-client.ts";

/** No identity that is made of claims begins so: ids of issuers hold no colon, and other claims are refused. */
export const OWN = "oauth2-client:";

/** `oauth2-client:main/batch` */
export function ownIdentity({ from, client }: AccessToken): string | null {
  return client === undefined ? null : `${OWN}${from.id}/${client}`;
}

export function clientOf(identity: string, clients: CredentialTable<ClientData>): Credential<ClientData> | undefined {
  const slash = identity.indexOf("/");
  const [server, id] = [identity.slice(OWN.length, slash), identity.slice(slash + 1)];
  return servedClient(id, server, clients);
}

/** @param server id of the authorization server */
export function servedClient(
  id: string,
  server: string,
  clients: CredentialTable<ClientData>,
): Credential<ClientData> | undefined {
  const found = clients.get(id);
  return found && (found.data.servers?.has(server) ?? true) ? found : undefined;
}

/**
 * Why a PEM text cannot be read, in words that say what to do: OpenSSL says no more than that it cannot.
 * Promise: what comes back holds nothing of the text. Pure.
 */

/** @param text that OpenSSL has refused @returns the cure, or undefined when the text does not look wrong in a known way */
export function pemCure(text: string): string | undefined {
  if (text.includes("\\n"))
    return 'its line breaks are the two characters "\\n": send real ones (in JSON "\\n", not "\\\\n")';
  if (!/-----BEGIN [A-Z0-9 ]{1,64}-----/.test(text))
    return "it has no line -----BEGIN …-----: send the PEM text, not a path, DER or bare base64";
  if (ENCRYPTED.test(text)) return "it is encrypted with a passphrase: take that off (openssl pkey -in KEY -out PLAIN)";
  if (!/-----BEGIN [A-Z0-9 ]{1,64}-----[ \t]*\r?\n/.test(text) || !/\n[ \t]*-----END /.test(text))
    return hasEnd(text)
      ? "it stands on one line: keep its line breaks (-----BEGIN …----- and -----END …----- are lines of their own)"
      : "it has no line -----END …-----: it was cut off";
  return INDENTED.test(text) ? "its lines are indented: begin each in the first column" : undefined;
}

const INDENTED = /\n[ \t]+\S/;
const ENCRYPTED = /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED/;

function hasEnd(text: string): boolean {
  return /-----END [A-Z0-9 ]{1,64}-----/.test(text);
}

/** A refusal and its cure, where there is one. */
export function withCure(refusal: string, text: string): string {
  const cure = pemCure(text);
  return cure === undefined ? refusal : `${refusal}: ${cure}`;
}

// What a log must never hold: every secret that a test used or saw.

const LEAST_LENGTH = 8;
const LEAST_COOKIE_LENGTH = 20;

export class Secrets {
  #names = new Map();

  /** Notes a secret. What is shorter than 8 characters could stand in a log by accident, and is none. */
  note(name, value) {
    if (typeof value === "string" && value.length >= LEAST_LENGTH) {
      this.#names.set(value, name);
    }
    return value;
  }

  /** Notes a cookie's value; a short one is a mark, such as the time of a sign-in, and opens nothing. */
  noteCookie(value) {
    if (value.length >= LEAST_COOKIE_LENGTH) {
      this.note("cookie", value);
    }
  }

  /** Notes the parameters of a URL or form that are secret. */
  noteParameters(parameters) {
    for (const name of SECRET_PARAMETERS) {
      this.note(name, parameters.get(name));
    }
  }

  /** The names of all kinds of secrets noted, sorted. */
  get kinds() {
    return [...new Set(this.#names.values())].sort();
  }

  /** Which secrets a text holds, as they are or percent-encoded, with the line. */
  findIn(text) {
    const found = [];
    for (const [value, name] of this.#names) {
      for (const spelling of new Set([value, encodeURIComponent(value)])) {
        const at = text.indexOf(spelling);
        if (at >= 0) {
          found.push(`${name}: ${lineAround(text, at)}`);
        }
      }
    }
    return found;
  }
}

/** Parameters of the protocol that nobody but the two parties may see. */
const SECRET_PARAMETERS = [
  "code",
  "state",
  "nonce",
  "code_verifier",
  "client_secret",
  "client_assertion",
  "id_token_hint",
  "access_token",
  "refresh_token",
  "id_token",
  "token",
];

function lineAround(text, at) {
  const start = text.lastIndexOf("\n", at) + 1;
  const end = text.indexOf("\n", at);
  return text.slice(start, end < 0 ? undefined : end);
}

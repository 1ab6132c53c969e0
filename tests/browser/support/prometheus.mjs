// A Prometheus that runs, asked by its HTTP API.

const LIMIT = 60_000;

export class Prometheus {
  #origin;
  #begun = Date.now() / 1000;

  constructor(origin) {
    this.#origin = origin;
  }

  /** What an expression gives now. Throws what Prometheus says of one that it cannot evaluate. */
  async query(expr) {
    return (await this.#get("query", { query: expr })).result;
  }

  /** What an expression gave since this was made, every five seconds. */
  async queryRange(expr) {
    const end = Date.now() / 1000;
    return (await this.#get("query_range", { query: expr, start: this.#begun, end, step: 5 })).result;
  }

  /** The values of a label among some series. */
  async labelValues(series, label) {
    return this.#get(`label/${label}/values`, { "match[]": series });
  }

  async rules() {
    return (await this.#get("rules", {})).groups.flatMap(({ rules }) => rules);
  }

  /** Waits until an expression gives something. */
  async until(expr) {
    for (const end = Date.now() + LIMIT; (await this.query(expr)).length === 0;) {
      if (Date.now() > end) {
        throw new Error(`Prometheus never saw: ${expr}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async #get(what, parameters) {
    const answer = await fetch(`${this.#origin}/api/v1/${what}?${new URLSearchParams(parameters)}`);
    const { status, data, error } = await answer.json();
    if (status !== "success") {
      throw new Error(`${error}\n${parameters.query ?? what}`);
    }
    return data;
  }
}

// All that a test file starts, so that one call ends it, and so that all its logs can be searched for all its secrets.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { startBrowser } from "./browser.mjs";
import { Client } from "./client.mjs";
import { ARTIFACTS, Gateway, run, temporaryFolder } from "./gateway.mjs";
import { Pod } from "./pod.mjs";
import { Provider } from "./provider.mjs";
import { Secrets } from "./secrets.mjs";

const LISTEN = ["--listen", "127.0.0.1:0", "--data", "data"];

export class Scene {
  secrets = new Secrets();
  #gateways = [];
  #endings = [];

  /** A client without cookies. */
  client() {
    return new Client(this.secrets);
  }

  async provider(configuration) {
    const provider = await Provider.start(this.secrets, configuration);
    this.#endings.push(() => provider.stop());
    return provider;
  }

  /** Anything else that is starting and that `stop` ends. */
  async starts(starting) {
    const started = await starting;
    this.#endings.push(() => started.stop());
    return started;
  }

  /** Chromium or Firefox. */
  async browser(name) {
    const browser = await startBrowser(name, this.secrets);
    this.#endings.push(() => browser.close());
    return browser;
  }

  /** A folder with a tenant file for each of `tenants`, tables by id. */
  async folder(tenants = {}) {
    const { folder, remove } = await temporaryFolder();
    this.#endings.push(remove);
    await mkdir(path.join(folder, "tenants"));
    for (const [id, tenant] of Object.entries(tenants)) {
      await writeTenant(folder, id, tenant);
    }
    return folder;
  }

  /** `lychgate serve` in a folder. */
  async serve(folder, { args = [], environment } = {}) {
    return this.#start(folder, ["serve", ...LISTEN, ...args], environment);
  }

  /** A pod of the Helm chart. */
  async pod(values, objects) {
    const pod = await Pod.make(values, objects);
    this.#endings.push(() => pod.remove());
    pod.gateway = await pod.start();
    this.#gateways.push(pod.gateway);
    this.#endings.push(() => pod.gateway.stop());
    return pod;
  }

  /** `lychgate demo`, with what it says: its origin and whom to sign in as. */
  async demo({ args = [], environment } = {}) {
    const gateway = await this.#start(
      await this.folder(),
      ["demo", ...LISTEN, "--log-level", "trace", "--log-format", "json", ...args],
      environment,
    );
    await gateway.until(() => gateway.announcement.includes("/metrics"), "announces itself");
    const people = peopleIn(gateway.announcement);
    for (const { password } of people) {
      this.secrets.note("password", password);
    }
    return { gateway, people, origin: originIn(gateway.announcement) };
  }

  /** A command of the binary that ends by itself. */
  run(folder, args, environment) {
    return run(folder, args, environment);
  }

  /** The logs of all gateways of this scene. */
  get logs() {
    return this.#gateways.map((gateway) => gateway.log).join("\n");
  }

  /** Ends all, the latest first, and keeps the logs under the name of the test file. */
  async end() {
    const failures = [];
    for (const ending of this.#endings.splice(0).reverse()) {
      await ending().catch((error) => failures.push(error));
    }
    await mkdir(ARTIFACTS, { recursive: true });
    await writeFile(path.join(ARTIFACTS, `${path.basename(process.argv[1], ".test.mjs")}.log`), this.logs);
    if (failures.length > 0) {
      throw new AggregateError(failures, "not everything could be ended");
    }
  }

  async #start(folder, args, environment) {
    const gateway = await Gateway.start(folder, args, environment);
    this.#gateways.push(gateway);
    this.#endings.push(() => gateway.stop());
    this.secrets.note("root_secret", (await readFile(path.join(folder, "data", "secret.key"), "utf8")).trim());
    return gateway;
  }
}

/**
 * Writes `tenants/<id>.toml`; every value is a text, a truth or a list of texts, which JSON and TOML write alike, or a
 * list of tables of these, which stands last.
 */
export async function writeTenant(folder, id, tenant) {
  const line = ([key, value]) => `${key} = ${JSON.stringify(value)}\n`;
  const isList = ([, value]) => Array.isArray(value) && typeof value[0] === "object";
  const entries = Object.entries(tenant);
  const lines = entries.filter((entry) => !isList(entry)).map(line);
  for (const [key, tables] of entries.filter(isList)) {
    lines.push(...tables.map((table) => `[[${key}]]\n${Object.entries(table).map(line).join("")}`));
  }
  await writeFile(path.join(folder, "tenants", `${id}.toml`), lines.join(""));
}

/** The lines `open http://…/acme  sign in as ada@acme.example  password …` of the demo. */
function peopleIn(announcement) {
  const found = announcement.matchAll(/(http:\/\/\S+)\s.*?(\S+@\S+)\s+.*?password:?\s+(\S+)/g);
  const people = [...found].map(([, url, username, password]) => ({ url, username, password }));
  if (people.length === 0) {
    throw new Error(`the demo names nobody to sign in as:\n${announcement}`);
  }
  return people;
}

function originIn(announcement) {
  return new URL(/http:\/\/\S+/.exec(announcement)[0]).origin;
}

// The built binary as a process of its own: started on a free port, its whole log kept, stopped by its own id.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));
/** What a run leaves behind for people: pictures and logs. */
export const ARTIFACTS = path.join(REPOSITORY, "artifacts");

const BINARY = path.join(REPOSITORY, "target", "debug", "lychgate");
const START_LIMIT = 20_000;
const STOP_LIMIT = 20_000;

export class Gateway {
  /** Everything it printed: the log at TRACE, and what is meant for people. */
  output = "";
  /** Milliseconds from the start of the process to the line that says where it listens. */
  startedIn;
  #process;
  #exit;
  #address;

  /** Starts the binary in `folder` and waits until it says where it listens. */
  static start(folder, args, environment = {}) {
    return Gateway.startAs([BINARY, ...args], { cwd: folder, env: environmentWith(environment) });
  }

  /** The same of any command line that ends in it. */
  static async startAs([program, ...args], options) {
    const gateway = new Gateway();
    const begun = performance.now();
    gateway.#process = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    gateway.#exit = once(gateway.#process, "exit");
    gateway.#address = await gateway.#untilListening().catch((error) => {
      gateway.#process.kill("SIGKILL"); // or it would outlive the tests, and they would wait for it
      throw error;
    });
    gateway.startedIn = performance.now() - begun;
    return gateway;
  }

  /** Scheme, host and port, the host by number or by name: two sites of one gateway. */
  get origin() {
    return `http://${this.#address}`;
  }

  get namedOrigin() {
    return this.origin.replace("127.0.0.1", "localhost");
  }

  get pid() {
    return this.#process.pid;
  }

  /** What it printed for people. */
  get announcement() {
    return this.output
      .split("\n")
      .filter((line) => !line.startsWith("{"))
      .join("\n");
  }

  /** What it logged. */
  get log() {
    return this.output
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .join("\n");
  }

  /** Waits until what it printed is so: its two outputs arrive in no order. */
  async until(condition, what) {
    for (let left = START_LIMIT / 10; !condition(); left--) {
      if (left <= 0) {
        throw new Error(`the gateway never ${what}; it printed:\n${this.output.slice(-8000)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Asks it to stop, as a service manager does, and returns its exit code. */
  async stop() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill("SIGTERM");
      const timer = setTimeout(() => this.#process.kill("SIGKILL"), STOP_LIMIT);
      await this.#exit;
      clearTimeout(timer);
    }
    return this.#process.exitCode;
  }

  /** Ends it at once, without a chance to write anything. */
  async kill() {
    this.#process.kill("SIGKILL");
    await this.#exit;
  }

  #untilListening() {
    return new Promise((resolve, reject) => {
      const fail = (reason) => reject(new Error(`the gateway ${reason}; it printed:\n${this.output.slice(-8000)}`));
      const timer = setTimeout(() => fail("did not listen in time"), START_LIMIT);
      const listen = (address) => {
        clearTimeout(timer);
        resolve(address);
      };
      for (const stream of [this.#process.stdout, this.#process.stderr]) {
        createInterface({ input: stream }).on("line", (line) => {
          this.output += `${line}\n`;
          const address = addressIn(line);
          if (address) {
            listen(address);
          }
        });
      }
      this.#process.on("error", (error) => fail(`did not start (${error.message})`));
      this.#process.on("exit", (code, signal) => {
        clearTimeout(timer);
        fail(`ended with ${code ?? signal}`);
      });
    });
  }
}

/** Runs a command of the binary to its end, as a person would. */
export async function run(folder, args, environment = {}) {
  const child = spawn(BINARY, args, {
    cwd: folder,
    env: environmentWith(environment),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

/** A folder of its own for a gateway, and the way to remove it. */
export async function temporaryFolder() {
  const folder = await mkdtemp(path.join(tmpdir(), "lychgate-test-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true, maxRetries: 3 }) };
}

/** The log whole, nothing of our own environment. */
function environmentWith(environment) {
  return {
    PATH: process.env.PATH,
    LYCHGATE_LOG__LEVEL: "trace",
    LYCHGATE_LOG__FORMAT: "json",
    LYCHGATE_SERVER__DRAIN_DELAY: "0s",
    ...environment,
  };
}

/** The address in a log line `listening`, be its fields flat or in a table of their own. */
function addressIn(line) {
  if (!line.startsWith("{")) {
    return undefined;
  }
  const { fields, ...flat } = JSON.parse(line);
  const { message, address } = { ...flat, ...fields };
  return message === "listening" && address ? address : undefined;
}

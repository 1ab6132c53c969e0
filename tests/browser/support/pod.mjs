// A pod of the Helm chart without a cluster: `tests/deploy/pod.py` renders the chart and makes the file system that the
// kubelet would, and the binary runs in it as the pod's user, with the pod's variables.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp } from "node:fs/promises";
import path from "node:path";
import { text } from "node:stream/consumers";
import { Gateway, REPOSITORY } from "./gateway.mjs";

const PYTHON = path.join(REPOSITORY, ".tools", "deploy", "python", "bin", "python");
const MAKER = path.join(REPOSITORY, "tests", "deploy", "pod.py");
/** Beside the binary, so that it need not be copied. */
const PODS = path.join(REPOSITORY, "target", "pods");
const AS_ROOT = process.getuid() === 0 ? [] : ["sudo", "-n"];

export class Pod {
  #root;
  #asked;
  #made;

  /** Lays a pod out; `objects` are what values name and others have made. */
  static async make(values, objects) {
    const pod = new Pod();
    await mkdir(PODS, { recursive: true });
    pod.#root = await mkdtemp(path.join(PODS, "pod-"));
    pod.#asked = { values, objects, workload: "Deployment/rel-lychgate" };
    pod.#made = await pod.#ask("make");
    return pod;
  }

  /** Starts its process. */
  start() {
    return Gateway.startAs(this.#commandLine(this.#made), { env: this.#made.environment });
  }

  /** Other values or other objects arrive in the volumes of the pod, as an upgrade or another team brings them. */
  async update(values, objects) {
    this.#asked = { ...this.#asked, values, objects };
    const made = await this.#ask("publish");
    if (made.pod !== this.#made.pod) {
      throw new Error("the pod itself would change: a cluster would replace it");
    }
  }

  /** Runs a command of the binary beside the process, as `kubectl exec` does: `{ code, output }`. */
  exec(...args) {
    const { command, environment } = this.#made;
    const program = command.slice(0, command.indexOf("/usr/bin/lychgate") + 1);
    return runToEnd(this.#commandLine({ command: [...program, ...args], environment }), { env: environment });
  }

  /** Runs another pod of the release to its end, as `helm test` does: `{ code, output }`. */
  async run(workload) {
    const other = new Pod();
    other.#root = await mkdtemp(path.join(PODS, "pod-"));
    other.#asked = { ...this.#asked, workload };
    try {
      const made = await other.#ask("make");
      return await runToEnd(other.#commandLine(made), { env: made.environment });
    } finally {
      await other.remove();
    }
  }

  async remove() {
    const { code, output } = await runToEnd([...AS_ROOT, "rm", "-rf", this.#root]);
    if (code !== 0) {
      throw new Error(output);
    }
  }

  #commandLine({ command, environment }) {
    const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    return AS_ROOT.length === 0 ? command : [...AS_ROOT, "env", "-i", ...variables, ...command];
  }

  async #ask(verb) {
    const command = [...AS_ROOT, PYTHON, MAKER, verb, this.#root];
    const { code, output } = await runToEnd(command, {}, JSON.stringify(this.#asked));
    if (code !== 0) {
      throw new Error(`no pod (tests/deploy/run installs what makes one): ${output}`);
    }
    return JSON.parse(output);
  }
}

async function runToEnd([program, ...args], options = {}, input = undefined) {
  const child = spawn(program, args, { ...options, stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"] });
  child.stdin?.end(input);
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code, output: code === 0 ? out : out + err };
}

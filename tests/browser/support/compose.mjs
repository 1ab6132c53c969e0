// What `deploy/compose` starts, as processes of this machine: each with the command, the files and the secrets that
// compose.yaml gives it, in a folder of its own that stands for its container. Only addresses are replaced.

import { spawnSync } from "node:child_process";
import { cp, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { parse } from "yaml";
import { REPOSITORY } from "./gateway.mjs";

const SOURCE = path.join(REPOSITORY, "deploy", "compose");

export class Compose {
  /** compose.yaml, as it is read. */
  file;
  #folder;
  #copy;
  #addresses;

  /** Copies deploy into `folder` and makes the secrets. `addresses` are what stands in files, and what is to stand there. */
  static async setUp(folder, addresses) {
    const compose = new Compose();
    compose.#folder = folder;
    compose.#copy = path.join(folder, "deploy", "compose");
    compose.#addresses = Object.entries(addresses);
    await cp(path.dirname(SOURCE), path.join(folder, "deploy"), {
      recursive: true,
      filter: (name) => !/node_modules|\/secrets$/.test(name),
    });
    compose.file = parse(await readFile(path.join(SOURCE, "compose.yaml"), "utf8"), { merge: true });
    const setup = spawnSync(path.join(compose.#copy, "setup"), { encoding: "utf8" });
    if (setup.status !== 0) {
      throw new Error(`deploy/compose/setup: ${setup.error ?? setup.stderr}`);
    }
    return compose;
  }

  get services() {
    return this.file.services;
  }

  /** What a file of secrets holds. */
  async secret(name) {
    return (await readFile(path.join(this.#copy, "secrets", name), "utf8")).trim();
  }

  /** A file as the repository has it, by its path from compose.yaml. */
  async source(name) {
    return readFile(path.join(SOURCE, name), "utf8");
  }

  /**
   * Makes the folder that stands for a service's container, with all that is mounted there. Returns that folder and the
   * service's command; in both, paths in the container and addresses are those of this machine.
   */
  async container(name) {
    const service = this.services[name];
    const root = path.join(this.#folder, "containers", name);
    const mounts = (service.volumes ?? []).map((volume) => volume.split(":"));
    const secrets = (service.secrets ?? []).map((secret) => [this.file.secrets[secret].file, `/run/secrets/${secret}`]);
    for (const [from, to] of [...mounts, ...secrets]) {
      const target = path.join(root, to);
      if (from.startsWith(".")) {
        await mkdir(path.dirname(target), { recursive: true });
        await cp(path.join(this.#copy, from), target, { recursive: true });
        await this.#rewrite(target, root);
      } else {
        await mkdir(target, { recursive: true });
      }
    }
    for (const folder of service.tmpfs ?? []) {
      await mkdir(path.join(root, folder), { recursive: true });
    }
    return { root, command: (service.command ?? []).map((word) => this.#placed(word, root)) };
  }

  /** Every address must have stood in some file, or the test would try something else than is shipped. */
  get unused() {
    return this.#addresses.filter(([address]) => !this.#used.has(address)).map(([address]) => address);
  }

  #used = new Set();

  async #rewrite(target, root) {
    if ((await stat(target)).isDirectory()) {
      for (const name of await readdir(target)) {
        await this.#rewrite(path.join(target, name), root);
      }
    } else if (!target.includes("/run/secrets/")) {
      await writeFile(target, this.#placed(await readFile(target, "utf8"), root));
    }
  }

  /** A text with the addresses of this machine, and with the paths of the container below its folder. */
  #placed(text, root) {
    let placed = text;
    for (const [address, here] of this.#addresses) {
      if (placed.includes(address)) {
        this.#used.add(address);
        placed = placed.replaceAll(address, here);
      }
    }
    return placed.replace(/(?<=^|[\s"=])\/(?=etc\/|run\/secrets\/|var\/lib\/|prometheus|tmp)/gm, `${root}/`);
  }
}

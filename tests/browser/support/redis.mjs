// The Redis that `tests/with-redis` runs, as its operator sees it: which server is a master, what becomes of its replica
// when it dies.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

const { LYCHGATE_TEST_REDIS: SETTINGS, LYCHGATE_TEST_REDIS_ADMIN: ADMIN, LYCHGATE_TEST_REDIS_DIR: DIR } = process.env;
const LIMIT = 30_000;
const run = promisify(execFile);

export class Redis {
  /** The settings file for a gateway. */
  settings = SETTINGS;
  #started = [];

  constructor() {
    if (!DIR) {
      throw new Error("there is no Redis: run this by tests/with-redis sentinel|cluster");
    }
  }

  /** Kills a master with -9; says when, and who will follow it. */
  async killMaster() {
    const masters = (await Promise.all((await ports()).map(replicaOf))).filter(Boolean);
    if (masters.length === 0) {
      throw new Error("no master has a replica");
    }
    const { port, replica } = masters[Math.floor(Math.random() * masters.length)];
    const pid = Number(await readFile(path.join(DIR, `redis-${port}.pid`), "utf8"));
    process.kill(pid, "SIGKILL");
    return { at: performance.now(), port, replica };
  }

  /** Waits until the replica of a master that died answers in its place. */
  async untilFollowed({ replica }) {
    await until(`a new master at ${replica}`, async () => {
      return (await ask(replica, "role").catch(() => "")).startsWith("master");
    });
    await until("a whole cluster", async () => {
      const said = await ask(replica, "cluster", "info");
      return said.startsWith("ERR") || said.includes("cluster_state:ok");
    });
  }

  /** Starts a master that died again, as a replica of the one that followed it, and waits until it has all data. */
  async bringBack({ port, replica }) {
    const cluster = (await ask(replica, "cluster", "info")).includes("cluster_state");
    const args = cluster ? [] : ["--replicaof", "127.0.0.1", String(replica)];
    const server = spawn("redis-server", [path.join(DIR, `redis-${port}.conf`), ...args], { stdio: "ignore" });
    this.#started.push(server);
    await until(`${port} as a replica`, async () => {
      const said = await ask(port, "info", "replication").catch(() => "");
      return said.includes("master_link_status:up") && (await replicaOf(replica)) !== undefined;
    });
  }

  /** Ends what `bringBack` started. */
  async stop() {
    for (const server of this.#started.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
      const ended = once(server, "exit");
      server.kill("SIGKILL");
      await ended;
    }
  }
}

/** Where servers listen that hold data. */
async function ports() {
  const names = await readdir(DIR);
  return names.flatMap((name) => /^redis-(\d+)\.conf$/.exec(name)?.[1] ?? []).map(Number);
}

/** A master's replica that has all data; none if this is no master, or is gone. */
async function replicaOf(port) {
  const said = await ask(port, "info", "replication").catch(() => "");
  const replica = said.includes("role:master") && /port=(\d+),state=online/.exec(said);
  return replica ? { port, replica: Number(replica[1]) } : undefined;
}

async function ask(port, ...command) {
  const { stdout } = await run("redis-cli", [...ADMIN.split(" "), "-p", String(port), ...command], { timeout: 2000 });
  return stdout;
}

async function until(what, condition) {
  for (const end = performance.now() + LIMIT; !(await condition());) {
    if (performance.now() > end) {
      throw new Error(`never came: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// nginx, Caddy and HAProxy with the example files that are shipped: nothing of them is changed but addresses and paths.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { REPOSITORY } from "./gateway.mjs";

export const HOST = "app.example.com";
const EXAMPLES = path.join(REPOSITORY, "deploy", "examples");
const START_LIMIT = 10_000;

/** How each is made ready in a folder, and started there. */
const PROXIES = {
  nginx: async (folder, port, { gateway, application }) => {
    await render("nginx/app.conf", folder, {
      "127.0.0.1:3000": gateway,
      "127.0.0.1:8080": application,
      "listen 443 ssl": `listen 127.0.0.1:${port} ssl`,
      "/etc/nginx/tls/": `${folder}/`,
    });
    return nginx(folder, "app.conf", "access_log off;");
  },
  caddy: async (folder, port, { gateway, application }) => {
    await render("caddy/Caddyfile", folder, {
      "127.0.0.1:3000": gateway,
      "127.0.0.1:8080": application,
      [`${HOST} {`]: `{\n\tadmin off\n\tauto_https disable_redirects\n}\n\nhttps://${HOST}:${port} {`,
      "/etc/caddy/": `${folder}/`,
    });
    return ["caddy", "run", "--adapter", "caddyfile", "--config", `${folder}/Caddyfile`];
  },
  haproxy: async (folder, port, { gateway, application }) => {
    await render("haproxy/haproxy.cfg", folder, {
      "127.0.0.1:3000": gateway,
      "127.0.0.1:8080": application,
      "bind :443": `bind 127.0.0.1:${port}`,
      "/etc/haproxy/": `${folder}/`,
    });
    await render("haproxy/lychgate.lua", folder, { "127.0.0.1:3000": gateway });
    return ["haproxy", "-db", "-f", `${folder}/haproxy.cfg`];
  },
};

export const NAMES = Object.keys(PROXIES);

/**
 * nginx in front of several gateways, `host:port` each: browsers come to `port`, proxies to `innerPort`. Which gateways it
 * asked, one after the other, what came of it and for which request stands in `access.log` of the folder.
 */
export function startBalancer(folder, port, innerPort, gateways) {
  const addresses = Object.fromEntries(gateways.map((gateway, at) => [`10.0.0.1${at + 1}:3000`, gateway]));
  const prepare = async () => {
    await render("replicas/lychgate.conf", folder, {
      ...addresses,
      "listen 443 ssl": `listen 127.0.0.1:${port}`,
      "listen 10.0.0.10:3000": `listen 127.0.0.1:${innerPort}`,
      "allow 10.0.0.0/24": "allow 127.0.0.1",
      "ssl_certificate /etc/nginx/tls/login.crt;": "",
      "ssl_certificate_key /etc/nginx/tls/login.key;": "",
    });
    const log = `log_format asked '$upstream_addr $upstream_status $request_method $uri'; access_log access.log asked;`;
    return nginx(folder, "lychgate.conf", log);
  };
  return start(prepare, folder, port);
}

/** A free port of loopback. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts the proxy `name` on `port`, in front of a gateway and an application, each `host:port`. */
export async function startProxy(name, folder, port, behind) {
  await makeCertificate(folder);
  return start(() => PROXIES[name](folder, port, behind), folder, port);
}

/** nginx with a file of servers in a folder, once it listens at `port`. */
export function startNginx(folder, file, port) {
  return start(() => nginx(folder, file, "access_log off;"), folder, port);
}

/** Any other program, once it listens at `port`; its folder is its home. */
export function startProgram(folder, command, port) {
  return start(async () => command, folder, port);
}

/** nginx with an example, which stands in the folder already, and with the temporary files there. */
async function nginx(folder, example, log) {
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((of) => `${of}_temp_path ${folder}/${of};`);
  const main = `pid ${folder}/nginx.pid; error_log stderr; events {}
    http { ${log} client_max_body_size 0; ${paths.join(" ")} include ${folder}/${example}; }`;
  await writeFile(path.join(folder, "nginx.conf"), main);
  return ["nginx", "-p", folder, "-c", `${folder}/nginx.conf`, "-g", "daemon off;"];
}

async function start(prepare, folder, port) {
  const [program, ...args] = await prepare();
  const child = spawn(program, args, {
    cwd: folder,
    env: { PATH: `${process.env.PATH}:/usr/sbin`, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => (output += chunk));
  }
  const ended = once(child, "exit");
  await untilConnected(port, child, () => output);
  return {
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** Copies an example with some texts replaced; each must be there, or the test would try another file than is shipped. */
async function render(example, folder, replacements) {
  let text = await readFile(path.join(EXAMPLES, example), "utf8");
  for (const [old, replacement] of Object.entries(replacements)) {
    if (!text.includes(old)) {
      throw new Error(`deploy/examples/${example} does not hold ${JSON.stringify(old)}`);
    }
    text = text.replaceAll(old, replacement);
  }
  await writeFile(path.join(folder, path.basename(example)), text);
}

async function makeCertificate(folder) {
  const [certificate, key] = [path.join(folder, "app.crt"), path.join(folder, "app.key")];
  const args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", `/CN=${HOST}`];
  const made = spawnSync("openssl", [
    ...args,
    "-addext",
    `subjectAltName=DNS:${HOST}`,
    "-keyout",
    key,
    "-out",
    certificate,
  ]);
  if (made.status !== 0) {
    throw new Error(`openssl: ${made.error ?? made.stderr}`);
  }
  await writeFile(path.join(folder, "app.pem"), (await readFile(certificate, "utf8")) + (await readFile(key, "utf8")));
}

async function untilConnected(port, child, output) {
  for (const end = Date.now() + START_LIMIT; ;) {
    if (child.exitCode !== null || Date.now() > end) {
      throw new Error(`the proxy does not listen; it printed:\n${output()}`);
    }
    const socket = net.connect(port, "127.0.0.1");
    const connected = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (connected) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// A wire to a server that can be made slow: what the server answers comes late, whatever it is.

import { once } from "node:events";
import net from "node:net";

export class Wire {
  /** How late an answer comes, in milliseconds. */
  delay = 0;
  #server;
  #sockets = new Set();

  /** Listens at a free port of 127.0.0.1; whoever connects is connected to `port`. */
  static async to(port) {
    const wire = new Wire();
    wire.#server = net.createServer((client) => wire.#join(client, net.connect(port, "127.0.0.1")));
    wire.#server.listen(0, "127.0.0.1");
    await once(wire.#server, "listening");
    return wire;
  }

  get port() {
    return this.#server.address().port;
  }

  #join(client, server) {
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(socket);
      socket.setNoDelay();
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (bytes) => server.write(bytes));
    server.on("data", (bytes) => setTimeout(() => client.destroyed || client.write(bytes), this.delay));
  }

  async stop() {
    this.#server.close();
    this.#sockets.forEach((socket) => socket.destroy());
    await once(this.#server, "close");
  }
}

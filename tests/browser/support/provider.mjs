// A provider that others wrote and had certified, npm's `oidc-provider`, on a free port of 127.0.0.1. It has a sign-in
// page of ours and remembers what it was asked, so that a test can look.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import OidcProvider from "oidc-provider";
import { Memory } from "./memory.mjs";

const SIGNING = { use: "sig", alg: "RS256" };
const COOKIE_KEY = randomUUID();

/** Configuration of a provider whose access tokens live so many seconds, and whose refresh tokens are good for one use. */
export function shortLived(accessTokenSeconds) {
  return {
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    ttl: {
      AccessToken: accessTokenSeconds,
      AuthorizationCode: 60,
      Grant: 3600,
      IdToken: 300,
      Interaction: 600,
      RefreshToken: 3600,
      Session: 3600,
    },
  };
}

export class Provider {
  /**
   * What it was asked, the latest last: `{ at, endpoint, query, form, authorization, account }`, `at` as
   * `performance.now()`, `account` whose refresh token was used.
   */
  requests = [];
  #accounts = new Map();
  #clients = [];
  #keys = [newKey()];
  #memory = new Memory();
  #configuration;
  #oidc;
  #server;
  #secrets;
  #swallows;

  /** Starts one. `configuration` is added to `oidc-provider`'s. */
  static async start(secrets, configuration = {}) {
    const provider = new Provider();
    provider.#secrets = secrets;
    provider.#configuration = configuration;
    provider.#server = http.createServer((request, response) => provider.#answer(request, response));
    provider.#server.listen(0, "127.0.0.1");
    await once(provider.#server, "listening");
    provider.#rebuild();
    return provider;
  }

  get issuer() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Adds somebody who may sign in. */
  addAccount(username, claims = {}) {
    const password = this.#secrets.note("password", randomUUID());
    this.#accounts.set(username, { password, claims: { email: username, ...claims } });
    return { username, password };
  }

  /** Registers a tenant's client. Its redirect URIs fit any port of loopback. */
  addClient(tenant, metadata = {}) {
    const client = {
      client_id: `${tenant}-gateway`,
      client_secret: randomUUID(),
      token_endpoint_auth_method: "client_secret_post",
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      redirect_uris: [`http://127.0.0.1/${tenant}/callback`, `http://localhost/${tenant}/callback`],
      post_logout_redirect_uris: [`http://127.0.0.1/${tenant}/logged-out`, `http://localhost/${tenant}/logged-out`],
      ...metadata,
    };
    this.#secrets.note("client_secret", client.client_secret);
    this.#clients = [...this.#clients.filter(({ client_id }) => client_id !== client.client_id), client];
    this.#rebuild();
    return client;
  }

  /** Signs with a new key from now on; the old ones still verify. */
  rotateKeys() {
    this.#keys.unshift(newKey());
    this.#rebuild();
    return this.#keys[0].kid;
  }

  /** What an endpoint was asked. */
  requestsTo(endpoint) {
    return this.requests.filter((request) => request.endpoint === endpoint);
  }

  /** Never answers the next request for tokens, nor does what it asks; resolves when it came. */
  swallowNext() {
    return new Promise((resolve) => (this.#swallows = resolve));
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** Its clients and keys are fixed when it is made, so a change makes another one on the same memory. */
  #rebuild() {
    this.#oidc = new OidcProvider(this.issuer, {
      adapter: (model) => this.#memory.adapter(model),
      clients: this.#clients,
      jwks: { keys: this.#keys },
      cookies: { keys: [COOKIE_KEY] },
      scopes: ["openid", "profile", "email", "offline_access"],
      claims: { openid: ["sub"], profile: ["name", "picture", "updated_at"], email: ["email", "email_verified"] },
      conformIdTokenClaims: false,
      features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
      interactions: { url: (context, { uid }) => `/sign-in/${uid}` },
      findAccount: (context, id) => this.#findAccount(id),
      loadExistingGrant: grantEverything,
      ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 3600, IdToken: 300, Interaction: 600, Session: 3600 },
      ...this.#configuration,
    });
    letPortsDiffer(this.#oidc.Client);
    this.#oidc.use((context, next) => this.#remember(context, next));
  }

  #findAccount(id) {
    const account = this.#accounts.get(id);
    return account && { accountId: id, claims: () => ({ sub: id, ...account.claims }) };
  }

  async #answer(request, response) {
    if (this.#swallows && request.url === "/token") {
      this.#swallows();
      this.#swallows = undefined;
      return;
    }
    try {
      if (request.url.startsWith("/sign-in/")) {
        await this.#signInPage(request, response);
      } else {
        await this.#oidc.callback()(request, response);
      }
    } catch (error) {
      response.writeHead(500, { "content-type": "text/plain" }).end(String(error));
    }
  }

  async #signInPage(request, response) {
    await this.#oidc.interactionDetails(request, response);
    if (request.method !== "POST") {
      return sendSignInPage(response, "");
    }
    const form = new URLSearchParams(await textOf(request));
    if (this.#accounts.get(form.get("username"))?.password !== form.get("password")) {
      return sendSignInPage(response, "Wrong e-mail address or password.");
    }
    const result = { login: { accountId: form.get("username") } };
    await this.#oidc.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  }

  async #remember(context, next) {
    const [at, query] = [performance.now(), new URLSearchParams(context.search)];
    await next();
    const form = new URLSearchParams(context.oidc?.body ?? {});
    const { authorization } = context.headers;
    const account = context.oidc?.entities?.RefreshToken?.accountId;
    this.requests.push({ at, endpoint: context.oidc?.route, query, form, authorization, account });
    this.#secrets.noteParameters(query);
    this.#secrets.noteParameters(form);
    this.#secrets.note("authorization", authorization?.split(" ")[1]);
    if (context.type === "application/json" && context.body && typeof context.body === "object") {
      this.#secrets.noteParameters(new URLSearchParams(context.body));
    }
  }
}

/** An RSA key pair: the private key, and the public one as a JWK. */
export function rsaKeyPair() {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { privateKey, jwk: { ...publicKey.export({ format: "jwk" }), ...SIGNING, kid: randomUUID() } };
}

function newKey() {
  return { ...rsaKeyPair().privateKey.export({ format: "jwk" }), ...SIGNING, kid: randomUUID() };
}

/** Redirect URIs are registered without a port: a gateway gets another one at each start. */
function letPortsDiffer(Client) {
  const withoutPort = (uri) => uri.replace(/^(http:\/\/(?:127\.0\.0\.1|localhost)):\d+/, "$1");
  Client.prototype.redirectUriAllowed = function (uri) {
    return this.redirectUris.includes(withoutPort(uri));
  };
  Client.prototype.postLogoutRedirectUriAllowed = function (uri) {
    return this.postLogoutRedirectUris.includes(withoutPort(uri));
  };
}

/** Nobody is asked to consent. */
async function grantEverything(context) {
  const { client, provider, session } = context.oidc;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope("openid profile email offline_access");
  await grant.save();
  return grant;
}

function sendSignInPage(response, message) {
  response.writeHead(message ? 401 : 200, { "content-type": "text/html; charset=utf-8" }).end(`<!doctype html>
<html lang="en"><title>Sign in</title>
<h1>Sign in</h1>
<p role="alert">${message}</p>
<form method="post">
<label for="username">E-mail address</label> <input id="username" name="username" autocomplete="username">
<label for="password">Password</label> <input id="password" name="password" type="password">
<button type="submit">Continue</button>
</form></html>`);
}

async function textOf(request) {
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

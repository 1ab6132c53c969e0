// Debian's Chromium and Firefox, driven by puppeteer; a whole browser with a profile of its own each.

import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import puppeteer from "puppeteer-core";
import { ARTIFACTS } from "./gateway.mjs";

const PROGRAMS = {
  chromium: process.env.CHROMIUM || "/usr/bin/chromium",
  firefox: process.env.FIREFOX || "/usr/bin/firefox-esr",
};
/** Nothing leaves the machine, and root may run it. */
const CHROMIUM_ARGUMENTS = [
  ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--host-resolver-rules=MAP *.example.com 127.0.0.1",
];
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DESKTOP = { width: 1200, height: 800 };

/** Starts a browser. Each `newVisitor` is somebody with no cookies. */
export async function startBrowser(name, secrets) {
  const browser = await puppeteer.launch({
    browser: name === "firefox" ? "firefox" : "chrome",
    executablePath: PROGRAMS[name],
    headless: true,
    acceptInsecureCerts: true,
    args: name === "firefox" ? [] : CHROMIUM_ARGUMENTS,
    defaultViewport: DESKTOP,
  });
  return {
    version: () => browser.version(),
    newVisitor: async () => new Visitor(await browser.createBrowserContext(), secrets),
    close: () => browser.close(),
  };
}

/** Somebody in front of a browser, with tabs that share cookies. */
export class Visitor {
  #context;
  #secrets;

  constructor(context, secrets) {
    this.#context = context;
    this.#secrets = secrets;
  }

  /** A new tab. What goes over its wire and is secret, is noted. */
  async newTab() {
    const tab = await this.#context.newPage();
    tab.setDefaultTimeout(15_000);
    tab.on("request", (request) => this.#secrets.noteParameters(new URL(request.url()).searchParams));
    return tab;
  }

  async leave() {
    for (const { value } of await this.#context.cookies()) {
      this.#secrets.noteCookie(value);
    }
    await this.#context.close();
  }
}

/** Clicks what leads to another page, and waits for that page. */
export async function follow(tab, selector) {
  const arrived = tab.waitForNavigation({ waitUntil: "load" });
  await tab.click(selector);
  return arrived;
}

/** Fills in the provider's sign-in or sign-up page and submits it. */
export async function submitCredentials(tab, { username, password }) {
  await tab.waitForSelector("#username");
  await fill(tab, "#username", username);
  await fill(tab, "#password", password);
  return follow(tab, 'form:has(#password) [type="submit"]');
}

async function fill(tab, selector, text) {
  await tab.$eval(selector, (input) => (input.value = ""));
  await tab.type(selector, text);
}

/** The text of an element as one sees it. */
export function textOf(tab, selector = "main") {
  return tab.$eval(selector, (element) => element.innerText);
}

/** Keeps a picture of a tab in `artifacts/`. */
export async function keepPicture(tab, name) {
  await mkdir(ARTIFACTS, { recursive: true });
  await tab.screenshot({ path: path.join(ARTIFACTS, `${name}.png`) });
}

/** What axe finds wrong with a page, a line each. */
export async function accessibilityFaults(tab) {
  await tab.evaluate(AXE);
  const { violations, passes } = await tab.evaluate(() => globalThis.axe.run());
  if (passes.length === 0) {
    throw new Error("axe checked nothing");
  }
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, any }) => `${id}: ${help}: ${target} ${any.map((check) => check.message).join("; ")}`),
  );
}

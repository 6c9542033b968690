// A headless Chromium for tests/dashboard.rs: takes requests, one line of JSON each, and answers each with one.
//
// browser.mjs PACKAGES CHROMIUM: the directory in which package-lock.json is installed, and the browser.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, executablePath] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// It is to speak with the page alone, and runs as root in containers.
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
];
const PATIENCE = 60_000;

const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: PATIENCE });
let page = null;
// What the page has complained about.
let complaints = [];

const calls = {
  // A new page at an address, in a window of its own.
  async open({ url, width, dark }) {
    await page?.context().close();
    complaints = [];
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: dark ? "dark" : "light" });
    context.setDefaultTimeout(PATIENCE);
    page = await context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`the policy forbids ${event.violatedDirective}: ${event.blockedURI}`);
      });
    });
    await page.goto(url);
    return null;
  },
  // Waits until an expression is true in the page; how long that took, in milliseconds. It is asked from here: the policy of the
  // page forbids what the page would need to ask it itself.
  async until({ expression }) {
    const began = Date.now();
    while (!(await page.evaluate(expression))) {
      if (Date.now() - began > PATIENCE) throw new Error(`waited ${PATIENCE} ms in vain`);
      await page.waitForTimeout(50);
    }
    return Date.now() - began;
  },
  // The value of an expression.
  async value({ expression }) {
    return page.evaluate(expression);
  },
  // Presses the mouse at one place of an element and lets it go at another; places are parts of its size.
  async drag({ selector, from, to }) {
    const box = await (await page.waitForSelector(selector)).boundingBox();
    await page.mouse.move(box.x + box.width * from, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * to, box.y + box.height / 2, { steps: 5 });
    await page.mouse.up();
    return null;
  },
  async hover({ selector, at }) {
    const box = await (await page.waitForSelector(selector)).boundingBox();
    await page.mouse.move(box.x + box.width * at, box.y + box.height / 2);
    return null;
  },
  async click({ selector }) {
    await page.click(selector);
    return null;
  },
  // Drops a file onto the page.
  async drop({ name, text }) {
    const files = await page.evaluateHandle(([name, text]) => {
      const data = new DataTransfer();
      data.items.add(new File([text], name));
      return data;
    }, [name, text]);
    await page.dispatchEvent("body", "drop", { dataTransfer: files });
    return null;
  },
  // What makes the page hard to use for some people, and seriously so.
  async barriers() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
  },
  // How far the page is wider than its window.
  async overflow() {
    return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  },
  async picture({ path }) {
    await page.screenshot({ path, fullPage: true });
    return null;
  },
  async complaints() {
    return complaints.splice(0);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...settings } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await calls[call](settings)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();

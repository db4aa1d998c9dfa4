#!/usr/bin/env node
// Crawls scrapewatch's demo job site and reports as it goes, with nothing but Node 20: the twin of stack/demo/orchestrator.py.
//
//   node examples/orchestrator.mjs --site-url http://127.0.0.1:8100 --report-url http://127.0.0.1:8000 --seconds 60 --seed 1
//
// Each event is sent as it happens, in the historic body and as a plain `fetch` of a string sends it (text/plain, and
// a key only where SCRAPEWATCH_API_KEY holds one).
// At the end a JSON summary of what scrapewatch should know goes to stdout: the totals by session.

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const USAGE =
  "usage: orchestrator.mjs --site-url URL [--report-url URL] [--seconds N] [--seed N] [--sites a,b] [--pace N]";
let options;
try {
  ({ values: options } = parseArgs({
    options: {
      "site-url": { type: "string" },
      "report-url": { type: "string", default: "http://127.0.0.1:8000" },
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: "1" },
      sites: { type: "string", default: "indeed,linkedin,glassdoor" },
      pace: { type: "string", default: "1" }, // multiplies every wait
      help: { type: "boolean", short: "h" },
    },
  }));
} catch (error) {
  console.error(`${error.message}\n${USAGE}`);
  process.exit(2);
}
if (options.help) {
  console.log(USAGE);
  process.exit(0);
}
const seconds = Number(options.seconds);
const seed = Number(options.seed);
const pace = Number(options.pace);
if (!options["site-url"] || !(seconds > 0) || !(pace > 0) || !Number.isInteger(seed)) {
  console.error(USAGE);
  process.exit(2);
}
const siteUrl = options["site-url"];
const reportUrl = new URL("/api/v1/monitoring/metrics", options["report-url"]).href;
const headers = process.env.SCRAPEWATCH_API_KEY ? { Authorization: `Bearer ${process.env.SCRAPEWATCH_API_KEY}` } : {};
const sites = options.sites.split(",");
const deadline = performance.now() + seconds * 1000;

const WORKERS = 3;
const TRIES = 3;
const MAX_JOBS = 40;
const SEARCHES = ["data engineer", "electrician", "python", "lighthouse keeper", "frontend"];

const totals = {}; // by session: what scrapewatch answered for
const timeIsUp = () => performance.now() >= deadline;

/** Sends one event, until scrapewatch has it or says that it will never take it; true when it has it. */
async function report(session, metric, value) {
  // Encoded once: a retry repeats the event, with the time at which it happened.
  const body = JSON.stringify({ session_id: session, metric, value, timestamp: new Date().toISOString() });
  for (let attempt = 0; ; attempt++) {
    let wait = Math.random() * Math.min(10_000, 250 * 2 ** attempt);
    try {
      const response = await fetch(reportUrl, { method: "POST", body, headers });
      await response.arrayBuffer();
      if (response.ok) {
        count(session, metric, value);
        return true;
      }
      if (response.status !== 429 && response.status !== 503) {
        console.error(`${metric} refused with ${response.status}`);
        return false;
      }
      wait += 1000 * (Number(response.headers.get("retry-after")) || 0);
    } catch (error) {
      // The historic body has no key that would make a repetition harmless: it is repeated only when it cannot have arrived.
      if (error.cause?.code !== "ECONNREFUSED") {
        console.error(`${metric} may be lost: ${error.cause ?? error}`);
        return false;
      }
    }
    await sleep(wait * Math.min(1, pace));
  }
}

function count(session, metric, value) {
  const sums = (totals[session] ??= { jobs: 0, pages: 0, errors: 0, events: 0 });
  sums.events += 1;
  if (metric === "job_scraped") sums.jobs += value.count;
  if (metric === "page_processed") sums.pages += 1;
  if (metric === "error_occurred") sums.errors += 1;
}

/** Stops asking a site that keeps refusing; resolves `admitted` when a request may go. */
class Breaker {
  state = "closed";
  failures = 0;
  openedAt = 0;

  constructor(onChange) {
    this.onChange = onChange;
  }

  async admitted() {
    for (;;) {
      if (this.state === "closed" || timeIsUp()) return;
      if (this.state === "open" && performance.now() - this.openedAt >= 6000 * pace) {
        return this.#become("half_open");
      }
      await sleep(50 * pace);
    }
  }

  async settle(success) {
    this.failures = success ? 0 : this.failures + 1;
    if (this.state === "half_open") return this.#become(success ? "closed" : "open");
    if (this.state === "closed" && this.failures >= 5) return this.#become("open");
  }

  #become(state) {
    this.state = state;
    if (state === "open") this.openedAt = performance.now();
    return this.onChange({ state, failures: this.failures });
  }
}

/** Crawls one site for one term; resolves to its totals. */
async function crawlSite(session, site, term) {
  const emit = (metric, value) => report(session, metric, { site, ...value });
  const breaker = new Breaker((change) => emit("circuit_breaker", change));
  const query = new URLSearchParams({ q: term, page: "1" });
  const queue = [{ path: `/${site}/jobs?${query}`, tries: 0 }];
  const scheduled = new Set();
  const sums = { jobs: 0, pages: 0, errors: 0 };
  const started = performance.now();
  let active = 0;
  let failed = null;

  const fail = (type, message, path) => {
    sums.errors += 1;
    return emit("error_occurred", { type, message, url: siteUrl + path });
  };

  async function visit(errand) {
    await breaker.admitted();
    if (timeIsUp()) return;
    const begun = performance.now();
    let text;
    let status;
    try {
      const response = await fetch(siteUrl + errand.path, { signal: AbortSignal.timeout(Math.max(1000, 5000 * pace)) });
      [status, text] = [response.status, await response.text()];
    } catch (error) {
      await fail(error.name === "TimeoutError" ? "timeout" : "network", String(error.cause ?? error), errand.path);
      return retry(errand, "no answer");
    }
    const captcha = text.includes("verify you are human");
    const blocked = captcha || status === 403 || status === 429;
    sums.pages += 1;
    await emit("page_processed", {
      duration: (performance.now() - begun) / 1000,
      status,
      bytes: Buffer.byteLength(text),
      blocked,
    });
    if (captcha) await fail("captcha", "asked to verify that it is human", errand.path);
    else if (status >= 400) await fail(blocked ? String(status) : "other", `HTTP ${status}`, errand.path);
    if (blocked || status >= 400) return retry(errand, captcha ? "captcha" : `HTTP ${status}`);
    await breaker.settle(true);
    if (errand.path.includes("?")) readListing(text);
    else await readPosting(text, errand.path);
  }

  async function retry(errand, why) {
    await breaker.settle(false);
    if (errand.tries + 1 < TRIES) queue.push({ ...errand, tries: errand.tries + 1 });
    else if (errand.path.includes("?")) failed = `a listing page did not come: ${why}`;
  }

  function readListing(text) {
    for (const [, path] of text.matchAll(/<a class="job" href="([^"]+)"/g)) {
      if (scheduled.size < MAX_JOBS && !scheduled.has(path)) {
        scheduled.add(path);
        queue.push({ path, tries: 0 });
      }
    }
    const next = text.match(/<a rel="next" href="([^"]+)"/)?.[1].replaceAll("&amp;", "&");
    if (next && scheduled.size < MAX_JOBS) queue.push({ path: next, tries: 0 });
  }

  async function readPosting(text, path) {
    let posting;
    try {
      posting = JSON.parse(text.match(/<script type="application\/ld\+json">(.*?)<\/script>/s)[1]);
    } catch (error) {
      await fail("parsing", `JSON-LD cannot be read: ${error.message}`, path);
      return;
    }
    sums.jobs += 1;
    const job = { title: posting.title, company: posting.hiringOrganization?.name, url: siteUrl + path };
    await emit("job_scraped", { count: 1, job });
  }

  async function work() {
    // Others at work may still find something to do.
    while (!timeIsUp() && (queue.length > 0 || active > 0)) {
      const errand = queue.shift();
      if (errand) {
        active += 1;
        await visit(errand);
        active -= 1;
      }
      await sleep(200 * pace);
    }
  }

  await emit("site_started", { attempt: 1 });
  const ticking = new AbortController();
  const ticker = (async () => {
    while (!ticking.signal.aborted) {
      await emit("queue", { depth: queue.length, pending: active, active_scrapers: WORKERS });
      await sleep(2000 * pace, null, { signal: ticking.signal }).catch(() => {});
    }
  })();
  await Promise.all(Array.from({ length: WORKERS }, work));
  ticking.abort();
  await ticker;
  await emit("queue", { depth: 0, pending: 0, active_scrapers: 0 });
  if (!failed && queue.length > 0) failed = "time is up";
  const duration = (performance.now() - started) / 1000;
  await emit("site_finished", {
    attempt: 1,
    success: failed === null,
    ...(failed && { error_message: failed }),
    ...sums,
    duration,
  });
  return { ...sums, failed };
}

async function runSession(number) {
  const term = SEARCHES[(seed + number) % SEARCHES.length];
  const session = `node-${Date.now().toString(36)}-${process.pid}-${String(number).padStart(3, "0")}`;
  const started = performance.now();
  await report(session, "session_started", {
    search_term: term,
    location: "anywhere",
    sites,
    max_jobs_per_site: MAX_JOBS,
    max_concurrency: WORKERS,
    source: "node",
  });
  const outcomes = await Promise.all(sites.map((site) => crawlSite(session, site, term)));
  const sum = (name) => outcomes.reduce((total, outcome) => total + outcome[name], 0);
  const status = timeIsUp() ? "cancelled" : outcomes.every((outcome) => outcome.failed) ? "failed" : "completed";
  await report(session, "session_finished", {
    status,
    ...(status !== "completed" && { reason: status === "cancelled" ? "time is up" : "every site failed" }),
    jobs: sum("jobs"),
    pages: sum("pages"),
    errors: sum("errors"),
    duration: (performance.now() - started) / 1000,
  });
}

for (let number = 1; !timeIsUp(); number++) {
  await runSession(number);
}
console.log(JSON.stringify({ sessions: totals }, null, 2));

// The live page: one WebSocket, and a picture of each message. What comes in is data: it is only ever set as text.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. `on…` are listeners, null and false leave out. */
function h(tag, attributes, ...children) {
  const [name, space] = tag.startsWith("svg:") ? [tag.slice(4), SVG] : [tag, null];
  const element = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put `children` into `parent`, and the focus back to where it was. */
function fill(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...children.flat().filter(Boolean));
  if (focused !== undefined) {
    for (const element of parent.querySelectorAll("[data-key]")) if (element.dataset.key === focused) element.focus();
  }
}

// ---- words and numbers

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const NONE = "–";

const count = (n) => (n === null || n === undefined ? NONE : whole.format(n));
const rate = (n) => (n === null || n === undefined ? NONE : n < 10 ? tenth.format(n) : whole.format(n));
const share = (n) => (n === null || n === undefined ? NONE : n === 1 || n === 0 ? `${n * 100} %` : `${(Math.floor(n * 1000) / 10).toFixed(1)} %`);
const percent = (n) => (n === null || n === undefined ? NONE : `${n === 100 ? "100" : (Math.floor(n * 100) / 100).toFixed(n > 99 ? 2 : 1)} %`);
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

function seconds(s) {
  if (s === null || s === undefined) return NONE;
  if (s < 0.001) return "<1 ms";
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${tenth.format(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(Math.floor(s % 60)).padStart(2, "0")} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function ago(time, now) {
  if (!time) return NONE;
  const s = Math.max(0, (Date.parse(now) - Date.parse(time)) / 1000);
  if (s < 5) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const mib = (n) => (n >= 1024 ? `${tenth.format(n / 1024)} GiB` : `${whole.format(n)} MiB`);

const TONES = {
  healthy: "good", degraded: "warn", truncated: "warn", empty: "warn", stalled: "bad", blocked: "bad", missing: "bad",
  running: "busy", queued: "idle", paused: "warn", completed: "idle", failed: "bad", cancelled: "warn",
  up: "good", down: "bad", unknown: "idle", closed: "good", half_open: "warn", open: "bad",
};
const badge = (word, title) => h("span", { class: "badge", "data-tone": TONES[word] ?? "idle", title }, word.replace("_", " "));
const table = (heads, rows) => h("table", null, h("thead", null, h("tr", null, heads.map(([text, kind]) => h("th", { class: kind, scope: "col" }, text)))), h("tbody", null, rows));
const track = (part, level) => {
  const bar = h("i");
  bar.style.width = `${Math.max(0, Math.min(1, part)) * 100}%`;
  return h("div", { class: "track", "data-level": level }, bar);
};

// ---- the cards

function showHeadline({ overall, session_counts: counts, last_event: last, time }) {
  const words = { up: "All services are up", degraded: "Working, with something to look at", down: "Something is down", unknown: "Waiting for the first checks" };
  const running = counts?.running ?? 0;
  const lines = [...overall.reasons];
  if (overall.sessions_to_look_at) lines.push(`${overall.sessions_to_look_at} of the latest sessions did not go well: their verdicts say why`);
  const section = byId("headline");
  section.dataset.status = overall.status;
  const headline = running ? `${words[overall.status]}, ${plural(running, "session")} running` : words[overall.status];
  const shown = lines.slice(0, 6);
  if (lines.length > 6) shown.push(`and ${lines.length - 6} more`);
  if (!running && last) shown.push(`the last event came ${ago(last, time)}`);
  const text = headline + shown.join();
  if (section.dataset.text === text) return; // it is read aloud: only when it changes
  section.dataset.text = text;
  section.querySelector("h1").textContent = headline;
  fill(section.querySelector("ul"), shown.map((line) => h("li", null, line)));
  const mark = { up: "", degraded: "▲ ", down: "■ ", unknown: "" }[overall.status];
  document.title = `${mark}scrapewatch`;
}

function showFigures({ throughput: now, session_counts: counts }) {
  const figure = (value, unit, label) => h("div", { class: "figure" }, h("span", null, label), h("strong", null, value, unit && value !== NONE ? h("small", null, unit) : null));
  fill(
    byId("figures"),
    figure(rate(now.jobs_per_minute), "/min", "jobs"),
    figure(rate(now.pages_per_minute), "/min", "pages"),
    figure(share(now.success_rate), "", "good pages"),
    figure(seconds(now.response_time), "", "mean page time"),
    figure(rate(now.errors_per_minute), "/min", "errors"),
    figure(counts ? count(counts.running) : NONE, counts?.queued ? `+ ${count(counts.queued)} queued` : "", "sessions running"),
  );
}

const MOST_SERIES = 7;
let picture = null;

/** Sums over a minute, so that each point is truly jobs per minute; beyond MOST_SERIES sites the smallest become one. */
function series({ start, window_seconds: step, jobs }) {
  const back = Math.round(60 / step);
  const rolling = (counts) => counts.slice(back - 1).map((_, i) => counts.slice(i, i + back).reduce((a, b) => a + b, 0) * (60 / (back * step)));
  let named = Object.entries(jobs).map(([site, counts]) => ({ site, values: rolling(counts) }));
  named.sort((a, b) => b.values.reduce((x, y) => x + y, 0) - a.values.reduce((x, y) => x + y, 0));
  if (named.length > MOST_SERIES) {
    const rest = named.splice(MOST_SERIES);
    named.push({ site: `${rest.length} others`, values: rest[0].values.map((_, i) => rest.reduce((sum, one) => sum + one.values[i], 0)), color: 7 });
  }
  const kept = named.filter((one) => one.color === undefined).map((one) => one.site).sort();
  for (const one of named) one.color ??= colorOf(one.site, kept);
  return { start: Date.parse(start) + (back - 1) * step * 1000, step: step * 1000, named };
}

// A site keeps its colour for as long as the page is open.
const colors = new Map();
function colorOf(site, kept) {
  if (!colors.has(site)) {
    const taken = new Set(kept.filter((other) => colors.has(other)).map((other) => colors.get(other)));
    let free = 0;
    while (taken.has(free) && free < MOST_SERIES - 1) free += 1;
    colors.set(site, free);
  }
  return colors.get(site);
}

function niceMaximum(value) {
  if (value <= 0) return 10;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const factor of [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) if (factor * power >= value) return factor * power;
  return 10 * power;
}

function showThroughput(message) {
  picture = series(message.throughput);
  drawChart();
  const last = (one) => one.values[one.values.length - 1];
  fill(byId("legend"), picture.named.map((one) => h("li", null, h("span", { class: `swatch c${one.color}` }), one.site, h("b", null, rate(last(one))))));
}

function drawChart() {
  const box = byId("chart");
  const width = box.clientWidth, height = box.clientHeight;
  if (!picture || !width) return;
  const { named, start, step } = picture;
  const points = named[0]?.values.length ?? 0;
  if (!points) {
    fill(box, h("p", { class: "quiet" }, "No job was reported in the last 15 minutes."));
    return;
  }
  const left = 40, right = 6, top = 8, bottom = 22;
  const totals = Array.from({ length: points }, (_, i) => named.reduce((sum, one) => sum + one.values[i], 0));
  const most = niceMaximum(Math.max(...totals));
  const x = (i) => left + (i / (points - 1)) * (width - left - right);
  const y = (v) => height - bottom - (v / most) * (height - top - bottom);
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    parts.push(h("svg:line", { class: "rule", x1: left, x2: width - right, y1: Math.round(y(most * part)) + 0.5, y2: Math.round(y(most * part)) + 0.5 }));
    parts.push(h("svg:text", { x: left - 8, y: y(most * part) + 4, "text-anchor": "end" }, rate(most * part)));
  }
  const end = start + (points - 1) * step;
  const minute = 60000;
  for (let at = Math.ceil(start / minute) * minute; at <= end; at += minute) {
    const every = width < 500 ? 5 : 3;
    if ((at / minute) % every === 0) {
      const i = (at - start) / step;
      if (x(i) > left + 14 && x(i) < width - 18) parts.push(h("svg:text", { x: x(i), y: height - 4, "text-anchor": "middle" }, clock(at).slice(0, 5)));
    }
  }
  let base = new Array(points).fill(0);
  for (const one of named) {
    const upper = base.map((b, i) => b + one.values[i]);
    const line = upper.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`);
    const under = base.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).reverse();
    parts.push(h("svg:path", { class: `area c${one.color}`, d: `M${line.join("L")}L${under.join("L")}Z` }));
    base = upper;
  }
  const label = `Jobs per minute: ${rate(totals[points - 1])} now, at most ${rate(Math.max(...totals))} in the last quarter of an hour`;
  const svg = h("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, parts);
  svg.addEventListener("pointermove", (event) => {
    const at = event.clientX - box.getBoundingClientRect().left;
    const i = Math.max(0, Math.min(points - 1, Math.round(((at - left) / (width - left - right)) * (points - 1))));
    leave();
    svg.append(h("svg:line", { class: "cross", x1: x(i), x2: x(i), y1: top, y2: height - bottom }));
    const tip = h("div", { class: "tip" }, h("b", null, `${clock(start + i * step)} · ${rate(totals[i])} /min`),
      [...named].reverse().filter((one) => one.values[i]).map((one) => h("span", null, h("span", null, one.site), rate(one.values[i]))));
    box.append(tip);
    tip.style.left = `${x(i) > width / 2 ? x(i) - tip.offsetWidth - 12 : x(i) + 12}px`;
  });
  const leave = () => box.querySelectorAll(".tip, .cross").forEach((element) => element.remove());
  svg.addEventListener("pointerleave", leave);
  fill(box, svg);
}

function showErrors({ errors }) {
  const kinds = Object.entries(errors.counts).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  const total = kinds.reduce((sum, [, n]) => sum + n, 0);
  const body = byId("errors").querySelector(".body");
  if (!total) return fill(body, h("p", { class: "quiet" }, "None."));
  const shown = kinds.slice(0, 8);
  if (kinds.length > 8) shown.push(["all others", kinds.slice(8).reduce((sum, [, n]) => sum + n, 0)]);
  return fill(body, h("div", { class: "bars" }, shown.map(([kind, n]) => h("div", { class: "bar" },
    h("span", null, kind, /^\d{3}$/.test(kind) ? h("small", null, MEANING[kind] ?? "HTTP status") : null), h("b", null, count(n)), track(n / shown[0][1])))));
}
const MEANING = { 403: "forbidden", 404: "not found", 429: "too many requests", 500: "server error", 502: "bad gateway", 503: "unavailable", 504: "gateway timeout" };

const expanded = new Set();
const details = new Map(); // session → { events, detail }, as of so many events
let latest = null;

/** Fetch what belongs to a session unless it is known as of now; the table is drawn again when it came. */
async function fetchDetail({ session_id: id, events }) {
  if (details.get(id)?.events === events) return;
  details.set(id, { ...details.get(id), events });
  try {
    const answer = await fetch(`/api/v1/monitoring/sessions/${encodeURIComponent(id)}`);
    if (answer.ok) details.set(id, { events, detail: await answer.json() });
    else details.set(id, { events: null, detail: details.get(id)?.detail, failed: (await answer.json()).title });
  } catch {
    details.set(id, { events: null, detail: details.get(id)?.detail, failed: "It could not be fetched" });
  }
  if (expanded.has(id)) showSessions(latest);
}

function showSessions(message) {
  const { sessions, time } = message;
  const body = byId("sessions").querySelector(".body");
  if (sessions === null) return fill(body, h("p", { class: "quiet" }, "The sessions cannot be read now. They are not lost: this list comes back with the database."));
  const rows = sessions.flatMap((session) => {
    const id = session.session_id, open = expanded.has(id), now = session.now;
    const title = [session.search_term, session.location].filter(Boolean).join(" · ") || id;
    const under = [title === id ? null : id, session.source, session.sites.join(", ")].filter(Boolean).join(" · ");
    if (open) fetchDetail(session);
    const known = details.get(id);
    const evidence = known?.detail?.verdict_evidence.map((piece) => piece.text);
    const running = session.status === "running";
    const toggle = () => { if (!expanded.delete(id)) expanded.add(id); showSessions(latest); };
    const row = h("tr", null,
      h("td", { class: "name" }, h("button", { class: "open", "aria-expanded": String(open), "data-key": id, onclick: toggle }, h("span", null, h("span", { class: "what" }, title), h("small", { title: under }, under)))),
      h("td", null, badge(session.status, session.status_reason)),
      h("td", { class: session.verdict ? null : "none" }, session.verdict ? badge(session.verdict, evidence?.join("\n") ?? "open the session to see why") : h("span", { class: "quiet" }, NONE)),
      h("td", { class: running && now.progress ? "progress" : "progress none" }, running ? progress(now.progress) : null),
      number("jobs", count(session.total_jobs_found), !session.total_jobs_found),
      number("jobs/min", running ? rate(now.jobs_per_minute) : "", !now.jobs_per_minute, !running),
      number("pages", count(session.total_pages), !session.total_pages),
      number("good", share(session.total_pages ? session.pages_ok / session.total_pages : null), !session.total_pages, !session.total_pages),
      number("errors", count(session.errors_count), !session.errors_count, !session.errors_count),
      h("td", { class: "n", title: session.started_at ?? "" }, ago(session.started_at ?? session.queued_at ?? session.last_event_at, time), session.duration_seconds === null ? null : h("small", null, ` took ${seconds(session.duration_seconds)}`)),
    );
    return open ? [row, h("tr", { class: "more" }, h("td", { colspan: 10 }, more(session, known)))] : [row];
  });
  if (!rows.length) return fill(body, h("p", { class: "quiet" }, "No session yet."));
  const heads = [["Session"], ["Status"], ["Verdict"], ["Progress"], ["Jobs", "n"], ["Jobs/min", "n"], ["Pages", "n"], ["Good pages", "n"], ["Errors", "n"], ["Started", "n"]];
  return fill(body, table(heads, rows));
}

const number = (label, text, zero, none) => h("td", { class: `n${zero ? " zero" : ""}${none ? " none" : ""}`, "data-label": label }, text);

function progress(known) {
  if (!known) return h("span", { class: "quiet" }, NONE);
  if (!known.total) return h("span", null, count(known.done));
  return [h("span", null, `${count(known.done)} of ${count(known.total)}`), track(known.done / known.total)];
}

function more(session, known) {
  const facts = [
    ["saved", count(session.total_jobs_saved)], ["seen before", count(session.duplicates_skipped)], ["blocks", count(session.pages_blocked)],
    ["scrapers", session.now.active_scrapers], ["queue", session.now.queue_depth], ["memory", session.now.memory_mb ? mib(session.now.memory_mb) : null],
    ["reason", session.status_reason], ["events", count(session.events)],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  const detail = known?.detail;
  const address = `/api/v1/monitoring/sessions/${encodeURIComponent(session.session_id)}`;
  return [
    detail ? h("ul", { class: "evidence" }, (detail.verdict_evidence.length ? detail.verdict_evidence.map((piece) => piece.text) : ["There is no verdict before it ends or falls silent."]).map((line) => h("li", null, line)))
      : h("p", { class: "quiet" }, known?.failed ?? "…"),
    detail ? h("div", { class: "inner" }, attempts(detail), groups(detail)) : null,
    h("div", { class: "facts" }, facts.map(([name, value]) => h("span", null, `${name} `, h("b", null, String(value)))),
      h("a", { href: address }, "all as JSON"), h("a", { href: `${address}/metrics` }, "minute by minute")),
  ];
}

function attempts({ site_executions: all }) {
  if (!all.length) return null;
  const word = { true: "up", false: "failed", null: "running" };
  const rows = all.slice(-12).map((one) => h("tr", null,
    h("td", { title: one.error_message }, one.attempt_number > 1 ? `${one.site_name} (${one.attempt_number})` : one.site_name),
    h("td", null, h("span", { class: "badge", "data-tone": TONES[word[one.success]], title: one.error_message }, { true: "done", false: "failed", null: "open" }[one.success])),
    h("td", { class: "n" }, count(one.jobs_scraped)), h("td", { class: "n" }, count(one.pages_processed)), h("td", { class: "n" }, count(one.errors_count)), h("td", { class: "n" }, seconds(one.avg_page_load_time))));
  return h("div", null, h("h3", null, "At its sites"), table([["Site"], [""], ["Jobs", "n"], ["Pages", "n"], ["Errors", "n"], ["Page time", "n"]], rows));
}

function groups({ error_groups: all }) {
  if (!all.length) return null;
  const rows = all.slice(0, 6).map((one) => h("tr", null, h("td", { title: one.url }, `${one.site_name}: ${one.type ?? ""} ${(one.message ?? "").slice(0, 160)}`), h("td", { class: "n" }, count(one.count))));
  return h("div", null, h("h3", null, "Its errors"), h("table", null, h("tbody", null, rows)));
}

function showSites({ sites, breakers }) {
  const body = byId("sites").querySelector(".body");
  const known = new Map(sites.map((site) => [site.site, site]));
  for (const breaker of breakers) if (!known.has(breaker.site)) known.set(breaker.site, { site: breaker.site, breaker: breaker.state, jobs_per_minute: 0, success_rate: null, response_time: null });
  const details = new Map(breakers.map((breaker) => [breaker.site, breaker]));
  if (!known.size) return fill(body, h("p", { class: "quiet" }, "No site was heard of lately."));
  const rank = { open: 0, half_open: 1 };
  const shown = [...known.values()].sort((a, b) => (rank[a.breaker] ?? 2) - (rank[b.breaker] ?? 2) || b.jobs_per_minute - a.jobs_per_minute || a.site.localeCompare(b.site));
  return fill(body, table([["Site"], ["Breaker"], ["Jobs/min", "n"], ["Good", "n"], ["Page", "n"]], shown.slice(0, 20).map((site) => {
    const breaker = details.get(site.site);
    const title = breaker ? `since ${clock(breaker.since)}${breaker.failures === null ? "" : `, ${plural(breaker.failures, "failure")}`}` : null;
    return h("tr", null, h("td", null, site.site), h("td", null, site.breaker ? badge(site.breaker, title) : h("span", { class: "quiet" }, NONE)),
      h("td", { class: `n${site.jobs_per_minute ? "" : " zero"}` }, rate(site.jobs_per_minute)),
      h("td", { class: `n${site.success_rate !== null && site.success_rate < 0.5 ? " bad" : ""}` }, share(site.success_rate)), h("td", { class: "n" }, seconds(site.response_time)));
  })));
}

function showServices({ services, time }) {
  const body = byId("services").querySelector(".body");
  if (!services.length) return fill(body, h("p", { class: "quiet" }, "The first checks are under way."));
  const rank = { down: 0, degraded: 1, up: 2, unknown: 3 };
  const kinds = { store: 0, service: 1, site: 2 };
  const shown = [...services].sort((a, b) => kinds[a.kind] - kinds[b.kind] || rank[a.status] - rank[b.status]);
  return fill(body, h("ul", { class: "services" }, shown.slice(0, 14).map((service) => {
    const parts = [];
    if (service.error_message) parts.push(service.error_message);
    else if (service.response_time !== null) parts.push(`${service.kind === "site" ? "pages take" : "answers in"} ${seconds(service.response_time)}`);
    if (service.uptime_percent_24h !== null) parts.push(`${percent(service.uptime_percent_24h)} in 24 h`);
    if (service.uptime_percent_30d !== null) parts.push(`${percent(service.uptime_percent_30d)} in 30 d`);
    return h("li", null, h("span", null, service.name.replace(/^site:/, "")), badge(service.status, `checked ${ago(service.last_check, time)}`), h("small", null, parts.join(" · ")));
  })));
}

function showHost({ host }) {
  const level = (value) => (value >= 90 ? "bad" : value >= 75 ? "warn" : "");
  const gauge = (name, value, detail) => h("div", { class: "bar" }, h("span", null, name, h("small", null, detail)), h("b", null, `${whole.format(value)} %`), track(value / 100, level(value)));
  fill(byId("host").querySelector(".body"),
    h("div", { class: "bars" },
      gauge("Processor", host.cpu_percent, plural(host.cores, "core")),
      gauge("Memory", host.memory_percent, `${mib(host.memory_available_mb)} available`),
      gauge("Disk", host.disk_percent, `${mib(host.disk_free_mb)} free`)),
    h("div", { class: "pairs" },
      host.load_1 === null ? null : h("div", null, "load", h("b", null, host.load_1.toFixed(2))),
      h("div", null, "swap", h("b", null, `${whole.format(host.swap_percent)} %`)),
      h("div", null, "scrapewatch itself", h("b", null, mib(host.process_memory_mb)))));
}

const SAY = {
  job_scraped: (e) => [`${e.site}: ${plural(e.count ?? 1, "job")}`],
  page_processed: (e) => [`${e.site}: ${(e.count ?? 1) > 1 ? `${e.count} pages` : "a page"}${e.status ? `, ${e.status}` : ""}`, e.status >= 400 ? "warn" : ""],
  error_occurred: (e) => [`${e.site}: error ${e.type ?? ""}${(e.count ?? 1) > 1 ? ` × ${e.count}` : ""}`, "bad"],
  circuit_breaker: (e) => [`${e.site}: circuit breaker ${String(e.state).replace("_", " ")}`, e.state === "closed" ? "" : "bad"],
  session_queued: () => ["session queued"],
  session_started: (e) => [`session started${e.search_term ? `: ${e.search_term}` : ""}`],
  session_finished: (e) => [`session ${e.status ?? "ended"}${e.reason ? `: ${e.reason}` : ""}`, e.status === "failed" ? "bad" : ""],
  session_paused: () => ["session paused", "warn"],
  session_resumed: () => ["session goes on"],
  site_started: (e) => [`${e.site}: begins`],
  site_finished: (e) => [`${e.site}: ${e.success === false ? "failed" : "done"}`, e.success === false ? "bad" : ""],
  progress: (e) => [`${e.site ? `${e.site}: ` : ""}${count(e.done)}${e.total ? ` of ${count(e.total)}` : ""} done`],
};
const MOST_EVENTS = 10;
let heard = [];

function showEvents({ recent }) {
  heard = [...recent.filter((event) => event.metric !== "queue" && event.metric !== "resources").reverse(), ...heard].slice(0, MOST_EVENTS);
  fill(byId("events").querySelector(".body"), heard.map((event) => {
    const [text, tone] = SAY[event.metric]?.(event) ?? [event.metric.replaceAll("_", " ")];
    return h("li", { "data-tone": tone || null }, h("time", null, clock(event.time)), h("b", null, text), h("span", null, event.session_id ?? ""));
  }));
  byId("events").hidden = false;
}

function showSystem(message) {
  latest = message;
  const nothing = message.sessions !== null && message.sessions.length === 0 && message.last_event === null;
  byId("empty").hidden = !nothing;
  byId("cards").toggleAttribute("data-empty", nothing);
  for (const id of ["throughput", "errors", "sessions", "sites"]) byId(id).hidden = nothing;
  byId("figures").hidden = nothing;
  byId("events").hidden = !heard.length;
  const grafana = byId("grafana");
  grafana.hidden = !/^https?:\/\//.test(message.grafana_url ?? "");
  if (!grafana.hidden) grafana.href = message.grafana_url;
  for (const show of [showHeadline, showFigures, showThroughput, showErrors, showSessions, showSites, showServices, showHost]) show(message);
}

// ---- the connection

const FIRST_PAUSE = 500, LONGEST_PAUSE = 10000;
let socket = null, pause = FIRST_PAUSE, timer = null, shownAt = null, silence = 15000;

function say(state, text) {
  const pill = byId("connection");
  if (pill.dataset.state !== state) pill.dataset.state = state;
  const span = pill.querySelector("span");
  if (span.textContent !== text) span.textContent = text;
  document.body.toggleAttribute("data-stale", state === "stale");
}

function connect() {
  clearTimeout(timer);
  timer = null;
  const own = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/ws/system`);
  socket = own;
  own.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "system") {
      shownAt = Date.now();
      pause = FIRST_PAUSE;
      silence = 3000 * message.interval + 5000;
      say("live", "live");
      showSystem(message);
    } else if (message.type === "events") showEvents(message);
  });
  own.addEventListener("close", (event) => {
    if (socket !== own) return;
    socket = null;
    const wait = Math.random() * pause + pause / 2;
    pause = Math.min(pause * 2, LONGEST_PAUSE);
    timer = setTimeout(connect, wait);
    tell(event.code === 1013 ? "too many watch already" : "reconnecting");
  });
}

function tell(what = "reconnecting") {
  if (shownAt === null) return say("reconnecting", `${what}…`);
  const old = Date.now() - shownAt > silence;
  if (old) headlineStale();
  return say(old ? "stale" : "reconnecting", old ? `stale since ${clock(shownAt)}` : `${what}…`);
}

/** What was well then may not be now. */
function headlineStale() {
  const section = byId("headline");
  if (section.dataset.text === "stale") return;
  section.dataset.text = "stale";
  section.dataset.status = "down";
  section.querySelector("h1").textContent = "scrapewatch does not answer";
  fill(section.querySelector("ul"), h("li", null, `what is shown is of ${clock(shownAt)}; this page goes on by itself once it answers again`));
  document.title = "■ scrapewatch";
}

// A connection may die without a word: what is silent for too long is closed, which leads to a new one.
setInterval(() => {
  if (shownAt !== null && Date.now() - shownAt > silence) {
    tell();
    if (socket?.readyState === WebSocket.OPEN) socket.close();
  } else if (socket?.readyState === WebSocket.OPEN) {
    socket.send('{"type":"ping"}');
  }
}, 5000);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && socket === null) connect();
});

let frame = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(drawChart);
}).observe(byId("chart"));

byId("example").textContent = `curl ${location.origin}/api/v1/monitoring/metrics -H 'Content-Type: application/json' \\
  -d '{"session_id": "s1", "metric": "job_scraped", "value": {"site": "indeed", "count": 1}}'`;
connect();

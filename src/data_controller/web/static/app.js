"use strict";
// The status page: asks /api/v1/status twice a second and shows what it says, or how old what it last said is.

const $ = (id) => document.getElementById(id);
const POLL_MS = 500, TIMEOUT_MS = 3000, HISTORY = 240, HOLD_MS = 800;
const STATE_CLASS = { ok: "ok", degraded: "warn", failed: "bad" };
const history = { rate: [], wire: [] };
let token = sessionStorage.getItem("token") || "";
let lastAnswerMs = 0, lastHistogram = null, lastRun = null, why = "";

// The token comes in the fragment, which is never sent to a server; it leaves the address bar at once.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  token = given;
  sessionStorage.setItem("token", token);
  window.history.replaceState(null, "", location.pathname);
}

function text(id, value) { const e = $(id); if (e.textContent !== value) e.textContent = value; }
function kind(element, name) { for (const k of ["ok", "warn", "bad"]) element.classList.toggle(k, k === name); }
function node(tag, className, content) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (content !== undefined) e.textContent = content;
  return e;
}
function rows(id, lines) {
  const body = document.createDocumentFragment();
  for (const cells of lines) {
    const tr = document.createElement("tr");
    for (const cell of cells) tr.append(cell instanceof Node ? cell : node("td", "", cell));
    body.append(tr);
  }
  $(id).tBodies[0].replaceChildren(body);
}
const num = (value, className = "") => node("td", `n ${className}`, value);
const count = (n) => (n === undefined || n === null ? "–" : Number(n).toLocaleString("en-US"));
const alarm = (n) => num(count(n), n > 0 ? "alarm" : "zero");

function duration(s) {
  if (s === null || s === undefined || !isFinite(s)) return "–";
  if (s < 1e-3) return `${(s * 1e6).toFixed(s < 1e-4 ? 1 : 0)} µs`;
  if (s < 1) return `${(s * 1e3).toFixed(s < 0.1 ? 1 : 0)} ms`;
  return s < 120 ? `${s.toFixed(1)} s` : `${(s / 60).toFixed(0)} min`;
}
// Shortest decimal text: the feed's floats are correctly rounded digits of the wire.
function price(x) { return x === null || x === undefined ? "–" : String(x); }
function quantile(h, q) {
  const total = h.counts.reduce((a, b) => a + b, 0);
  if (!total) return null;
  let seen = 0;
  for (let i = 0; i < h.counts.length; i++) {
    if (h.counts[i] && seen + h.counts[i] >= q * total) {
      const lo = i ? h.bounds[i - 1] : 0;
      const hi = i < h.bounds.length ? h.bounds[i] : h.bounds[h.bounds.length - 1];
      return lo + (hi - lo) * Math.min(1, (q * total - seen) / h.counts[i]);
    }
    seen += h.counts[i];
  }
  return null;
}
function since(older, newer) {
  const counts = newer.counts.map((c, i) => c - (older.counts[i] || 0));
  return counts.some((c) => c < 0) ? newer : { bounds: newer.bounds, counts };
}
function spark(id, values) {
  const most = Math.max(...values.filter((v) => v !== null), 0) || 1;
  let path = "", pen = false;
  values.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    const x = (240 * (i + HISTORY - values.length)) / (HISTORY - 1);
    path += `${pen ? "L" : "M"}${x.toFixed(1)} ${(42 - 40 * v / most).toFixed(1)}`;
    pen = true;
  });
  $(id).querySelector("path").setAttribute("d", path);
}
function remember(series, value) { series.push(value); if (series.length > HISTORY) series.shift(); }

async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${token}` };
  if (options.body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(options.timeout || TIMEOUT_MS) });
  const body = await answer.json();
  if (answer.status === 401) { token = ""; sessionStorage.removeItem("token"); }
  if (!answer.ok) throw new Error(body.error || `answer ${answer.status}`);
  return body;
}

async function poll() {
  try {
    if (token) show(await call("/api/v1/status"));
    else showHealth(await (await fetch("/healthz", { signal: AbortSignal.timeout(TIMEOUT_MS) })).json());
    lastAnswerMs = performance.now();
    why = "";
  } catch (error) {
    why = error.name === "TimeoutError" ? "no answer" : error.message;
  }
  $("login").hidden = Boolean(token);
  $("alerts-card").hidden = !token;
  $("main").classList.toggle("closed", !token);
  setTimeout(poll, POLL_MS);
}

function showHealth(health) {
  const overall = $("overall");
  text("overall", health.overall);
  kind(overall, STATE_CLASS[health.overall]);
  const list = Object.entries(health.components).map(([name, state]) => {
    const li = document.createElement("li");
    li.append(node("span", `badge ${STATE_CLASS[state]}`, state), node("span", "", name.replaceAll("/", "/\u200b")),
      node("span", "quiet", (health.details[name] || {}).why || ""));
    return li;
  });
  $("health").replaceChildren(...list);
  const feed = health.details.feed || {};
  showState(feed.mode || "HALTED", feed.phase, feed.age_s, health.components.engine);
  showLatch(health.components.latch !== "ok", { reason: (health.details.latch || {}).why || "" });
}

function showState(mode, phase, age, engine) {
  // A silent engine's last mode is not its mode.
  const dead = engine === "failed";
  text("mode", dead ? "ENGINE DOWN" : mode);
  kind($("mode"), dead ? "bad" : { ACTIVE: "ok", REDUCING: "warn", HALTED: "bad" }[mode]);
  text("phase", dead ? "no feed" : phase || "no engine");
  const ageText = age === null || age === undefined ? "never heard" : age < 1 ? "feed is fresh" : `feed is ${duration(age)} old`;
  text("age", ageText);
  kind($("age"), dead ? "bad" : age < 1 ? "" : "warn");
  $("main").classList.toggle("stale", dead);
}

function showLatch(active, latch) {
  $("latched").hidden = !active;
  if (!active) return;
  const by = latch.who ? `, by ${latch.who}` : "";
  const at = latch.t_ns ? `, since ${new Date(latch.t_ns / 1e6).toISOString().slice(0, 19).replace("T", " ")} UTC` : "";
  text("latch-text", `${latch.reason}${by}${at}`);
  text("latch-later", (latch.later || []).map((c) => `Also: ${c.reason} (${c.who})`).join(" · "));
}

function show(status) {
  const feed = status.feed;
  showHealth(status.health);
  showState(feed ? feed.mode : "HALTED", feed && feed.phase, status.engine.feed_age_s, status.health.components.engine);
  showLatch(status.latch.state !== "clear", status.latch);
  const total = status.rates.reduce((sum, r) => sum + r.frames_per_s, 0);
  text("rate", status.engine.up ? count(Math.round(total)) : "–");
  remember(history.rate, status.engine.up ? total : null);
  spark("rate-line", history.rate);
  rows("rates", status.rates.map((r) => [r.exchange, r.channel, num(r.frames_per_s.toFixed(1))]));
  showAlerts(status.alerts);
  if (feed) showFeed(feed, status.engine.up);
}

function showFeed(feed, up) {
  const c = feed.counters;
  const wire = feed.histograms.wire_to_decision_seconds;
  if (feed.run !== lastRun) { lastRun = feed.run; lastHistogram = null; }
  let p99 = null;
  if (wire) {
    if (lastHistogram) p99 = quantile(since(lastHistogram[0], wire), 0.99);
    lastHistogram = [...(lastHistogram || []), wire].slice(-10);
  }
  text("wire", up ? duration(p99) : "–");
  remember(history.wire, up ? p99 : null);
  spark("wire-line", history.wire);

  const usable = feed.books.filter((b) => b.usable).length;
  text("usable", `${usable} / ${feed.books.length}`);
  $("usable-bar").firstElementChild.style.width = `${feed.books.length ? (100 * usable) / feed.books.length : 0}%`;
  text("usable-note", `${count(c.checksums_ok)} checksums right, ${count(c.checksums_bad)} wrong`);
  text("decisions", count(c.decisions));
  text("orders", count(c.orders));
  text("fills", count(c.fills));
  text("decisions-note", `${count(c.decisions_refused_invalid)} refused for invalid input`);
  text("books-note", `${feed.books.length} books`);

  rows("books", feed.books.map((b) => {
    const proof = node("td");
    proof.append(node("span", `badge ${b.usable ? "ok" : b.proof === "BROKEN" ? "bad" : "warn"}`, b.proof));
    if (b.proof_by !== "NOTHING") proof.append(node("span", "quiet", ` ${b.proof_by.toLowerCase()}`));
    const spread = b.bid > 0 && b.ask > 0 ? `${((1e4 * (b.ask - b.bid)) / ((b.ask + b.bid) / 2)).toFixed(2)} bps` : "–";
    const symbol = node("td", "", b.symbol);
    symbol.append(node("span", "quiet", ` ${b.exchange} ${b.precision}`));
    const checks = num(count(b.checks_ok));
    if (b.checks_bad) { checks.classList.add("alarm"); checks.textContent += ` / ${count(b.checks_bad)} bad`; }
    return [symbol, proof, num(price(b.bid)), num(price(b.ask)), num(spread),
      num(b.age_ms === null ? "–" : duration(b.age_ms / 1e3)), checks, alarm(b.gaps), alarm(b.resyncs)];
  }));
  rows("latency", Object.entries(feed.histograms).sort().map(([name, h]) => [
    name.replace(/_seconds$/, "").replaceAll("_", " "),
    num(duration(quantile(h, 0.5))), num(duration(quantile(h, 0.99))), num(duration(quantile(h, 0.999))), num(count(h.count)),
  ]));
  $("positions-card").hidden = !feed.positions.length;
  rows("positions", feed.positions.map((p) => [p.symbol, num(price(p.size)), num(price(p.entry)), num(price(p.mark)),
    num(p.unrealised === null ? "–" : p.unrealised.toFixed(2), p.unrealised < 0 ? "alarm" : "")]));

  $("queues").replaceChildren(...feed.queues.map((q) => {
    const line = node("div", "queue");
    const meter = node("div", "meter");
    const bar = node("i");
    bar.style.width = `${q.capacity ? Math.min(100, (100 * q.depth) / q.capacity) : 0}%`;
    meter.append(bar);
    line.append(node("span", "", q.name), meter, node("span", "n quiet", `${count(q.depth)}, peak ${count(q.peak)} / ${count(q.capacity)}`));
    return line;
  }));
  $("counters").replaceChildren(...Object.keys(c).sort().flatMap((k) =>
    [node("dt", "", k.replaceAll("_", " ")), node("dd", "", count(c[k]))]));
  const info = Object.entries(feed.info).map(([k, v]) => `${k} ${String(v).slice(0, 12)}`).join(" · ");
  text("build", `run ${feed.run} · pid ${feed.pid}${info ? " · " + info : ""}`);
}

function showAlerts(alerts) {
  const items = [...alerts.recent].reverse().slice(0, 8).map((a) => {
    const li = document.createElement("li");
    const look = a.state === "resolved" ? "ok" : { critical: "bad", warning: "warn" }[a.severity] || "";
    li.append(node("span", `badge ${look}`, a.state === "resolved" ? "resolved" : a.severity),
      node("strong", "", a.name), node("span", "", ` ${a.text} `),
      node("span", "quiet", `${new Date(a.t_ns / 1e6).toISOString().slice(11, 19)} UTC`));
    return li;
  });
  $("alerts").replaceChildren(...(items.length ? items : [node("li", "quiet", "None since the monitor started.")]));
}

function notice(message, bad = false) {
  const n = $("notice");
  n.hidden = false;
  n.textContent = message;
  n.classList.toggle("danger", bad);
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => { n.hidden = true; }, 15000);
}

async function kill() {
  if (!token) { notice("The kill button needs the token. `data-controller kill` or a file named KILL in the state directory work too.", true); return; }
  try {
    const body = JSON.stringify({ reason: "kill button on the status page" });
    const answer = await call("/api/v1/kill", { method: "POST", body, timeout: 8000 });
    const engine = answer.engine === "told" ? "the engine has been told" : `the engine did not answer: ${answer.engine}`;
    notice(answer.latched ? `Latched; ${engine}.` : `${answer.error}; ${engine}.`, !answer.latched);
  } catch (error) {
    notice(`Kill did not get through: ${error.message}. Use \`data-controller kill\` or create a file named KILL in the state directory.`, true);
  }
}

// Hold to confirm, by pointer or by Enter and Space alike.
let held = 0;
const button = $("kill");
function press() { if (held) return; button.classList.add("held"); held = setTimeout(() => { release(); kill(); }, HOLD_MS); }
function release() { clearTimeout(held); held = 0; button.classList.remove("held"); }
button.addEventListener("pointerdown", press);
for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(name, release);
button.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); press(); } });
button.addEventListener("keyup", release);

$("resume").addEventListener("submit", async (e) => {
  e.preventDefault();
  const reason = $("resume-reason").value.trim();
  if (!reason) { notice("Say why it is safe to resume.", true); return; }
  try {
    await call("/api/v1/resume", { method: "POST", body: JSON.stringify({ reason }), timeout: 31000 });
    $("resume-reason").value = "";
    notice("Resumed.");
  } catch (error) { notice(`Not resumed: ${error.message}`, true); }
});
$("login").addEventListener("submit", (e) => {
  e.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  sessionStorage.setItem("token", token);
});

setInterval(() => {
  text("clock", `${new Date().toISOString().slice(0, 19).replace("T", " ")} UTC`);
  const silent = lastAnswerMs ? (performance.now() - lastAnswerMs) / 1e3 : null;
  if (why && (silent === null || silent > 1.5)) {
    text("age", `monitor: ${why}${silent === null ? "" : `, ${duration(silent)} ago`}`);
    kind($("age"), "bad");
    text("mode", "UNKNOWN");
    kind($("mode"), "warn");
    text("phase", "monitor does not answer");
  }
  $("main").classList.toggle("lost", Boolean(why) && (silent === null || silent > 1.5));
}, 250);
poll();

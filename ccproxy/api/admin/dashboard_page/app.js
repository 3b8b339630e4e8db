// The dashboard of ccproxy. No library, no build step.
//
// The script requests all data with the key that the user has typed. The key is stored
// for this tab only (sessionStorage). It is sent as a header, never in a URL. Text from
// the server is inserted as text, never as HTML.
"use strict";

const KEY = "ccproxy-key", THEME = "ccproxy-theme";
const MOST_BARS = 60, MOST_ROWS = 11, MOST_ENDED = 300, MOST_ERRORS = 8;
const USAGE_EVERY_MS = 60_000, USAGE_AFTER_ANSWER_MS = 2_000;

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** Make an HTML element, from attributes by name, and children (elements or text). */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Make an SVG element. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const dollars = (cost) =>
  "$" + (cost === 0 ? "0" : cost >= 100 ? number.format(Math.round(cost)) : cost >= 0.995 ? cost.toFixed(2) : cost >= 0.001 ? cost.toFixed(3) : cost.toFixed(5));
const seconds = (s) =>
  s < 0.095 ? `${Math.round(s * 1000)} ms` : s < 9.95 ? `${s.toFixed(s < 1 ? 2 : 1)} s` : s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const short = (model) => model.replace(/^claude-/, "");
const route = (text) => text.replace("<path:name>", "…").replace("<name>", "…").replace("<item>", "…");
const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

// What is known.

const state = {
  key: sessionStorage.getItem(KEY),
  skew: 0, // seconds that the server's clock is ahead
  now: null,
  ended: new Map(),
  usage: null,
  conversations: null,
};

const answers = () => [...state.ended.values()].filter((end) => end.first_token_seconds !== null);
const rate = (end) => {
  const spoken = end.seconds - end.first_token_seconds;
  // A rate over a few milliseconds is meaningless.
  return end.output_tokens > 1 && spoken > 0.02 ? end.output_tokens / spoken : null;
};

// The key.

function view(name) {
  document.body.dataset.view = name;
  if (name === "key") $("key").focus();
}

function link(name, text) {
  $("link").dataset.state = name;
  $("link-text").textContent = text;
}

class WrongKey extends Error {}

/** Send a request; fails with WrongKey, or with the server's error message. */
async function ask(path, options = {}) {
  const headers = { authorization: `Bearer ${state.key}`, ...options.headers };
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (response.ok) return response;
  if (response.status === 401) throw new WrongKey("the key is wrong");
  const document = await response.json().catch(() => ({}));
  throw new Error(document.error?.message ?? `the server answered ${response.status}`);
}

function leave(why = "") {
  sessionStorage.removeItem(KEY);
  state.key = null;
  watching?.abort();
  asking?.abort();
  $("key").value = "";
  $("key-error").textContent = why;
  link("off", "not connected");
  view("key");
}

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    $("key-error").textContent = "A key has no spaces and no special characters.";
    return;
  }
  state.key = given;
  $("key-error").textContent = "";
  try {
    await ask("usage?days=1");
  } catch (error) {
    state.key = null;
    $("key-error").textContent = error instanceof WrongKey
      ? "This key is wrong. Use the key that the proxy was started with (PROXY_API_KEY), not a key of OpenAI’s or Anthropic’s."
      : `The proxy cannot be reached: ${error.message}`;
    $("key").select();
    return;
  }
  sessionStorage.setItem(KEY, given);
  $("key").value = "";
  open();
});
$("leave").addEventListener("click", () => leave());

// The theme.

const THEMES = ["auto", "light", "dark"];
function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
}
let shown = THEMES.indexOf(localStorage.getItem(THEME) ?? "auto");
theme(THEMES[shown] ?? "auto");
$("theme").addEventListener("click", () => {
  shown = (shown + 1) % THEMES.length;
  localStorage.setItem(THEME, THEMES[shown]);
  theme(THEMES[shown]);
});

// The event stream. `fetch` reads it, because EventSource cannot send the key in a header.

let watching = null;

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      let name = "message", data = "";
      for (const line of frame.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) yield [name, data];
    }
  }
}

function heard(name, data) {
  const told = JSON.parse(data);
  if (name === "hello") {
    state.skew = told.at - Date.now() / 1000;
    $("version").textContent = told.version;
    link("live", "live");
  } else if (name === "now") {
    state.now = told;
  } else if (name === "ended") {
    for (const end of told) state.ended.set(`${end.id} ${end.ended_at}`, end);
    for (const old of [...state.ended.keys()].slice(0, -MOST_ENDED)) state.ended.delete(old);
    if (told.some((end) => end.output_tokens !== null)) soonUsage(USAGE_AFTER_ANSWER_MS);
    showEnded();
  }
  showNow();
}

async function watch() {
  const own = watching = new AbortController();
  for (let pause = 500; !own.signal.aborted && state.key; pause = Math.min(2 * pause, 8000)) {
    try {
      const response = await ask("dashboard/events", { signal: own.signal });
      for await (const [name, data] of events(response)) {
        pause = 500;
        heard(name, data);
      }
    } catch (error) {
      if (own.signal.aborted) return;
      if (error instanceof WrongKey) return leave("The server no longer accepts this key.");
    }
    if (own.signal.aborted) return;
    state.now = null;
    link("away", "the server is away; trying again");
    showNow();
    await new Promise((done) => setTimeout(done, pause));
  }
}

function open() {
  view("board");
  link("away", "connecting");
  watch();
  loadModels();
  soonUsage(0);
}

// While the page is hidden, the event stream is closed.
document.addEventListener("visibilitychange", () => {
  if (!state.key || document.body.dataset.view !== "board") return;
  if (document.hidden) {
    watching?.abort();
    link("off", "paused");
  } else {
    watch();
    soonUsage(0);
  }
});

// Active requests, CLI processes, rate limits.

const STATES = ["answering", "settling", "idle", "spare", "stopping", "suspended"];
const STATE_TITLES = {
  answering: "answer a request", settling: "remove a request from their conversation",
  idle: "have answered, and wait for any request", spare: "have not had a request yet",
  stopping: "are being stopped", suspended: "wait for the results of a client’s tools",
};

function cell(text, name = "") {
  return make("td", name ? { class: name } : {}, text);
}

function row(entry, isNow) {
  const at = Date.now() / 1000 + state.skew;
  const first = isNow
    ? entry.answering_at && entry.answering_at - entry.began_at
    : entry.first_token_seconds;
  const speed = isNow || first === null ? null : rate(entry);
  const end = isNow ? (entry.answering_at ? "answering" : "waiting") : entry.finish;
  const name = make("td", { class: "name", title: entry.id }, route(entry.route));
  const tag = make("span", { class: `tag ${isNow || entry.finish === "client_gone" ? "" : entry.is_error ? "bad" : "ok"}` }, end);
  const line = make("tr", isNow ? { class: "now" } : {},
    name, cell(entry.model ? short(entry.model) : "–"), cell(entry.client, "extra"),
    cell(seconds(Math.max(0, isNow ? at - entry.began_at : entry.seconds)), "n"),
    cell(first === null || first === undefined ? "–" : seconds(Math.max(0, first)), "n extra"),
    cell(entry.output_tokens ? compact.format(entry.output_tokens) : "–", "n"),
    cell(speed === null ? "–" : speed.toFixed(0), "n extra"),
    make("td", {}, tag));
  return line;
}

function showRequests() {
  const going = state.now?.going ?? [];
  const over = [...state.ended.values()].reverse().slice(0, Math.max(4, MOST_ROWS - going.length));
  $("requests").tBodies[0].replaceChildren(
    ...going.map((entry) => row(entry, true)), ...over.map((entry) => row(entry, false)));
  $("requests").toggleAttribute("data-empty", !going.length && !over.length);
  $("requests-empty").hidden = going.length + over.length > 0;
}

function showSessions() {
  const counts = state.now?.sessions ?? {};
  const names = STATES.filter((name) => name in counts);
  $("sessions-bar").replaceChildren(...names.filter((name) => counts[name]).map((name) => {
    const part = make("i", { class: `s-${name}` });
    part.style.flexGrow = counts[name];
    return part;
  }));
  $("sessions").replaceChildren(...names.map((name) => make("li",
    { title: `${counts[name]} ${STATE_TITLES[name]}`, ...(counts[name] ? {} : { "data-none": "" }) },
    make("i", { class: `s-${name}` }), name, make("b", {}, String(counts[name])))));
}

function limitName(name) {
  const names = { five_hour: "5-hour window", seven_day: "7-day window" };
  return names[name] ?? name.replace(/^seven_day_/, "7-day window, ").replaceAll("_", " ");
}

function showLimits() {
  const limits = state.now?.rate_limits.length ? state.now.rate_limits : state.usage?.rate_limits ?? [];
  const at = Date.now() / 1000 + state.skew;
  $("limits").replaceChildren(...limits.filter((limit) => limit.used !== null || limit.status).map((limit) => {
    const used = limit.used ?? (limit.status === "rejected" ? 1 : 0), percent = Math.round(100 * used);
    const left = limit.resets_at === null ? null : limit.resets_at - at;
    const when = left === null ? "" : left > 0 ? `resets in ${seconds(left)}` : "has been reset";
    const fill = make("i");
    fill.style.width = `${Math.min(100, percent)}%`;
    return make("div", { class: "limit", "data-level": limit.status === "rejected" || used >= 1 ? "full" : used >= 0.75 ? "high" : "low" },
      make("div", {}, make("span", {}, limitName(limit.window)), make("b", {}, limit.used === null ? limit.status : `${percent} %`)),
      make("div", { class: "bar", role: "meter", "aria-label": limitName(limit.window), "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.min(100, percent) }, fill),
      make("small", {}, when));
  }));
  $("limits-empty").hidden = limits.length > 0;
}

function showNow() {
  const now = state.now;
  $("t-going").textContent = now ? String(now.going.length + now.more) : "–";
  $("t-queue").textContent = !now ? "" : now.queued ? `${now.queued} wait for a CLI process` : "no request waits";
  showRequests();
  showSessions();
  showLimits();
}

setInterval(() => {
  if (state.now?.going.length && !document.hidden) showRequests();
}, 500);

// Completed requests.

function showEnded() {
  const last = answers().slice(-MOST_BARS);
  const firsts = last.map((end) => ({ value: end.first_token_seconds, end }));
  const rates = last.map((end) => ({ value: rate(end), end })).filter((point) => point.value !== null);
  bars($("c-first"), firsts, seconds, (p) => `${seconds(p.value)}, ${short(p.end.model)}, ${clock(p.end.ended_at)}`, { powers: true });
  bars($("c-rate"), rates, (v) => number.format(Math.round(v)), (p) => `${p.value.toFixed(1)} tokens/s, ${short(p.end.model)}, ${clock(p.end.ended_at)}`);
  const tile = (id, values, format) => {
    $(id).textContent = values.length ? format(median(values)) : "–";
    $(`${id}-note`).textContent = values.length ? `median of ${values.length}` : "no answer yet";
  };
  tile("t-first", firsts.map((p) => p.value), seconds);
  tile("t-rate", rates.map((p) => p.value), (v) => v.toFixed(0));
  showErrors();
}

function showErrors() {
  const kinds = new Map();
  for (const end of state.ended.values()) {
    if (!end.is_error) continue;
    const kind = `${end.finish} ${end.route}`, known = kinds.get(kind);
    kinds.delete(kind);
    kinds.set(kind, { end, count: (known?.count ?? 0) + 1 });
  }
  const list = [...kinds.values()].reverse().slice(0, MOST_ERRORS);
  $("errors").replaceChildren(...list.map(({ end, count }) => make("li", {},
    make("code", {}, end.finish), count > 1 ? ` ${count} times` : "",
    make("p", {}, end.remedy ?? "The client received the reason."),
    make("p", { class: "when" }, `${clock(end.ended_at)}, ${end.status}, ${route(end.route)}, ${end.id}`))));
  $("errors-empty").hidden = list.length > 0;
}

// Charts.

/** A linear scale from 0 to a round number, with three grid lines. */
function scale(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const top = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= most * 0.9999);
  return { base: 0, top, lines: [0, top / 2, top] };
}

/** A logarithmic scale, with a grid line at each power of ten. */
function powers(values) {
  const low = Math.floor(Math.log10(Math.max(0.01, Math.min(...values))));
  const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(...values))));
  const lines = [];
  for (let power = low; power <= high; power++) lines.push(10 ** power);
  return { base: lines[0], top: lines.at(-1), lines };
}

function bars(svg, points, format, describe, options = {}) {
  const chosen = svg.querySelector(".at")?.dataset.place;
  const width = svg.clientWidth || 300, height = svg.clientHeight || 150;
  const left = 46, bottom = options.labels ? 20 : 6, up = 10;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.readout = null;
  const most = Math.max(0, ...points.map((p) => p.value));
  if (!(most > 0)) {
    svg.replaceChildren(
      draw("line", { class: "grid", x1: 0, x2: width, y1: height - bottom, y2: height - bottom }),
      draw("text", { class: "no", x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing yet"));
    return;
  }
  const { base, top, lines } = options.powers ? powers(points.map((p) => p.value)) : scale(most);
  const high = height - bottom - up;
  const part = options.powers
    ? (value) => Math.log(Math.max(value, base) / base) / Math.log(top / base)
    : (value) => value / top;
  const y = (value) => up + high * (1 - part(value));
  const parts = lines.map((value) => draw("g", {},
    draw("line", { class: "grid", x1: left, x2: width, y1: y(value), y2: y(value) }),
    draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, value === 0 ? "0" : format(value))));
  const slots = options.slots ?? Math.max(24, points.length);
  const step = (width - left) / slots, thick = Math.min(22, Math.max(2, step * 0.7));
  const begin = slots - points.length, apart = Math.ceil(56 / step);
  points.forEach((point, place) => {
    const x = left + (begin + place + 0.5) * step;
    const tall = Math.max(point.value > 0 ? 2 : 0, high * part(point.value));
    const round = Math.min(3, thick / 2, tall);
    const mark = options.powers
      ? draw("circle", { class: "bar", cx: x, cy: y(point.value), r: Math.min(5, Math.max(2.5, step / 2.5)) })
      : draw("path", { class: "bar", d: `M${x - thick / 2} ${y(0)}v${round - tall}q0 ${-round} ${round} ${-round}h${thick - 2 * round}q${round} 0 ${round} ${round}v${tall - round}z` });
    const group = draw("g", { "data-place": place, ...(String(place) === chosen ? { class: "at" } : {}) },
      draw("title", {}, describe(point)),
      draw("rect", { class: "hit", x: x - step / 2, y: up, width: step, height: high }), mark);
    if (options.labels && (points.length - 1 - place) % apart === 0)
      group.append(draw("text", { x: Math.min(x, width - 16), y: height - 4, "text-anchor": "middle" }, options.labels(point)));
    parts.push(group);
  });
  if (!options.labels && points.length > 2) {
    const middle = median(points.map((p) => p.value));
    parts.push(draw("line", { class: "median", x1: left, x2: width, y1: y(middle), y2: y(middle) }));
  }
  svg.replaceChildren(...parts);
  svg.readout = describe;
}

for (const [id, note] of [["c-first", "c-first-note"], ["c-rate", "c-rate-note"], ["c-usage", "c-usage-note"]]) {
  const svg = $(id), usual = $(note).textContent;
  const choose = (group) => {
    for (const other of svg.querySelectorAll(".at")) other.classList.remove("at");
    group?.classList.add("at");
    $(note).textContent = group ? group.querySelector("title").textContent : usual;
  };
  svg.addEventListener("pointerover", (event) => choose(event.target.closest("[data-place]")));
  svg.addEventListener("pointerleave", () => choose(null));
  svg.addEventListener("blur", () => choose(null));
  svg.addEventListener("keydown", (event) => {
    const groups = [...svg.querySelectorAll("[data-place]")];
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!groups.length || move === undefined) return;
    event.preventDefault();
    const at = groups.findIndex((group) => group.classList.contains("at"));
    const place = at < 0 ? groups.length - 1 : Math.min(groups.length - 1, Math.max(0, at + move));
    choose(groups[place]);
  });
}
new ResizeObserver(() => { showEnded(); showUsage(); }).observe($("board"));

// Usage.

let usageTimer = null, usageDue = Infinity;

/** Request the usage after a while, unless a request is already planned earlier. */
function soonUsage(delay) {
  const due = Date.now() + delay;
  if (due >= usageDue) return;
  usageDue = due;
  clearTimeout(usageTimer);
  usageTimer = setTimeout(loadUsage, delay);
}

async function loadUsage() {
  usageDue = Infinity;
  soonUsage(USAGE_EVERY_MS);
  if (!state.key || document.hidden) return;
  try {
    state.usage = await (await ask(`usage?days=${$("days").value}`)).json();
    state.conversations = $("group").value === "conversation"
      ? await (await ask(`usage?by=conversation&days=${$("days").value}`)).json() : null;
    $("usage-error").textContent = "";
  } catch (error) {
    if (error instanceof WrongKey) return;
    // The top of the page shows that the server cannot be reached.
    $("usage-error").textContent = error instanceof TypeError ? "" : error.message;
    return;
  }
  showUsage();
  showLimits();
}

const tokens = (line) => line.input_tokens + line.cache_read_tokens + line.cache_write_tokens + line.output_tokens;
const fromCache = (sum) => {
  const input = tokens(sum) - sum.output_tokens;
  return input ? `${compact.format(sum.cache_read_tokens)}, ${Math.round((100 * sum.cache_read_tokens) / input)} %` : "–";
};
// There may be thousands of conversations.
const MOST_GROUPS = 50;
const MEASURES = {
  cost: [(line) => line.cost_usd, dollars],
  tokens: [tokens, (value) => compact.format(value)],
  answers: [(line) => line.answers, (value) => compact.format(value)],
};

function showUsage() {
  const usage = state.usage;
  if (!usage) return;
  const [amount, format] = MEASURES[$("measure").value];
  const days = [], count = Number($("days").value);
  const today = new Date((Date.now() / 1000 + state.skew) * 1000);
  for (let back = count - 1; back >= 0; back--) {
    const day = new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth(), today.getUTCDate() - back));
    days.push(day.toISOString().slice(0, 10));
  }
  const sums = new Map(days.map((day) => [day, 0]));
  for (const line of usage.lines) sums.set(line.day, (sums.get(line.day) ?? 0) + amount(line));
  const points = days.map((day) => ({ day, value: sums.get(day) }));
  bars($("c-usage"), points, format, (p) => `${p.day}: ${format(p.value)}`, { slots: count, labels: (p) => p.day.slice(5) });

  const by = $("group").value, groups = new Map();
  for (const line of (by === "conversation" ? state.conversations : usage)?.lines ?? []) {
    const name = line[by], sum = groups.get(name) ?? { answers: 0, input_tokens: 0, cache_read_tokens: 0, cache_write_tokens: 0, output_tokens: 0, cost_usd: 0 };
    for (const field of Object.keys(sum)) sum[field] += line[field];
    groups.set(name, sum);
  }
  const line = (name, sum) => make("tr", {},
    cell(by === "model" ? short(name) : name), cell(number.format(sum.answers), "n"),
    cell(compact.format(tokens(sum) - sum.output_tokens), "n"), cell(fromCache(sum), "n extra"),
    cell(compact.format(sum.output_tokens), "n"), cell(dollars(sum.cost_usd), "n"));
  const sorted = [...groups].sort(([, a], [, b]) => b.cost_usd - a.cost_usd || b.answers - a.answers)
    .slice(0, MOST_GROUPS);
  $("usage").tBodies[0].replaceChildren(...sorted.map(([name, sum]) => line(name, sum)));
  $("usage").tFoot.replaceChildren(...(sorted.length > 1 && by !== "conversation" ? [line("all", usage.total)] : []));
  $("usage-by").textContent = { model: "Model", client: "Client", key: "Key", conversation: "Conversation" }[by];
  $("usage").toggleAttribute("data-empty", !sorted.length);
  $("usage-empty").hidden = sorted.length > 0;

  const own = usage.lines.filter((l) => l.day === days.at(-1));
  const cost = own.reduce((sum, l) => sum + l.cost_usd, 0), count_ = own.reduce((sum, l) => sum + l.answers, 0);
  $("t-today").textContent = dollars(cost);
  $("t-today-note").textContent = `${number.format(count_)} answer${count_ === 1 ? "" : "s"}, UTC`;
}

$("days").addEventListener("change", () => soonUsage(0));
$("measure").addEventListener("change", showUsage);
$("group").addEventListener("change", loadUsage);

// The chat.

let asking = null;
let messages = [];

async function loadModels() {
  try {
    const { data } = await (await ask("models")).json();
    const chosen = $("model").value;
    $("model").replaceChildren(make("option", { value: "" }, "the default"),
      ...data.map((model) => make("option", { value: model.id }, model.id)));
    $("model").value = data.some((model) => model.id === chosen) ? chosen : "";
  } catch {
    $("model").replaceChildren(make("option", { value: "" }, "the default"));
  }
}

function say(role, text) {
  $("talk").querySelector(".empty")?.remove();
  const words = make("span", {}, text), bubble = make("div", { class: `said ${role}` }, words);
  $("talk").append(bubble);
  $("talk").scrollTop = $("talk").scrollHeight;
  return { bubble, words };
}

function busy(controller) {
  asking = controller;
  $("send").disabled = controller !== null;
  $("stop").hidden = controller === null;
}

async function answer() {
  const own = new AbortController(), began = performance.now();
  busy(own);
  const { bubble, words } = say("model busy", "");
  let text = "", first = null, model = "", usage = null, failed = null;
  $("chat-status").textContent = "Waiting for the first token…";
  try {
    const response = await ask("chat/completions", {
      method: "POST", signal: own.signal, headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages, stream: true, stream_options: { include_usage: true }, ...($("model").value ? { model: $("model").value } : {}) }),
    });
    for await (const [, data] of events(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      model = chunk.model || model;
      usage = chunk.usage ?? usage;
      const more = chunk.choices[0]?.delta?.content;
      if (!more) continue;
      if (first === null) {
        first = performance.now() - began;
        $("chat-status").textContent = "Answering…";
      }
      text += more;
      const log = $("talk"), isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
      words.textContent = text;
      if (isAtEnd) log.scrollTop = log.scrollHeight;
    }
  } catch (error) {
    failed = own.signal.aborted ? "stopped" : error;
  }
  bubble.classList.remove("busy");
  const facts = [model && short(model), first !== null && `first token ${seconds(first / 1000)}`];
  if (usage) {
    const spoken = (performance.now() - began - first) / 1000;
    facts.push(`${number.format(usage.prompt_tokens)} tokens in, ${number.format(usage.completion_tokens)} out`);
    if (first !== null && spoken > 0.05) facts.push(`${(usage.completion_tokens / spoken).toFixed(0)} per second`);
  }
  if (failed === "stopped") facts.push("stopped");
  if (failed && failed !== "stopped") {
    bubble.classList.add("failed");
    words.textContent = text ? `${text}\n\n${failed.message}` : failed.message;
    if (failed instanceof WrongKey) leave("The server no longer accepts this key.");
  }
  bubble.append(make("small", {}, facts.filter(Boolean).join(" · ")));
  $("talk").scrollTop = $("talk").scrollHeight;
  // After a failure, the conversation has neither the message nor the partial answer.
  if (!failed) messages.push({ role: "assistant", content: text });
  else messages.pop();
  $("chat-status").textContent = failed ? (failed === "stopped" ? "Stopped." : "The request failed.") : "The answer is complete.";
  if (asking === own) busy(null);
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || asking) return;
  $("text").value = "";
  messages.push({ role: "user", content: text });
  say("user", text);
  answer();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") asking?.abort();
});
$("stop").addEventListener("click", () => asking?.abort());
$("clear").addEventListener("click", () => {
  asking?.abort();
  messages = [];
  $("talk").replaceChildren(make("p", { class: "empty" }, "A new conversation."));
  $("text").focus();
});

if (state.key) open();
else view("key");

// An open page of a device: values, property states and lines that keep current, by one stream of events.

const live = document.querySelector("[data-live]");

// -- words -----------------------------------------------------------------------------------------------------------

const all = (name, key) => document.querySelectorAll(`[data-${name}="${CSS.escape(key)}"]`);

const UNITS = [["d", 86_400, 172_800], ["h", 3_600, 3_600], ["min", 60, 60], ["s", 1, 2]];

function ago(seconds) {
  const found = UNITS.find(([, , from]) => seconds >= from);
  return found ? `${Math.floor(seconds / found[1])} ${found[0]} ago` : "just now";
}

// How far the hub's clock is ahead of the browser's, in seconds: ages are by the hub's.
const ahead = live ? Number(live.dataset.now) - Date.now() / 1000 : 0;

function showAges() {
  const now = Date.now() / 1000 + ahead;
  for (const element of document.querySelectorAll("time[data-at]")) {
    const at = Date.parse(element.dateTime) / 1000;
    if (at) element.textContent = ago(now - at);
  }
}

function showValues(values) {
  for (const { key, text, problem, at } of values) {
    for (const element of all("value", key)) {
      element.parentElement.classList.toggle("bad", Boolean(problem));
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of all("at", key)) if (at) element.dateTime = new Date(at * 1000).toISOString();
    for (const element of all("problem", key)) {
      element.hidden = !problem;
      element.textContent = problem ? `Does not fit: ${problem}` : "";
    }
  }
  showAges();
}

function showStates(states) {
  for (const { key, text, label, light, detail } of states) {
    for (const element of all("text", key)) element.textContent = text;
    for (const element of all("detail", key)) element.textContent = detail;
    for (const element of all("state", key)) {
      element.hidden = !label;
      element.className = `light ${light}`;
      element.querySelector("b").textContent = label;
    }
  }
}

// -- lines -----------------------------------------------------------------------------------------------------------

const COLOURS = ["--sea", "--good", "--warn", "--bad"];
const plots = [];

function colour(name) {
  // light-dark() is only worked out where it is used.
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// From when to when the lines go, in Unix seconds.
let range = [0, 0];
const twoDigits = (number) => String(number).padStart(2, "0");

function clockText(seconds) {
  const at = new Date(seconds * 1000);
  const time = `${twoDigits(at.getHours())}:${twoDigits(at.getMinutes())}`;
  return range[1] - range[0] > 2 * 86_400 ? at.toLocaleDateString(undefined, { day: "numeric", month: "short" }) : time;
}

// Of one value alone the chart would make a range of years.
function span(chart, least, most) {
  return range[1] ? [range[0], Math.max(range[1], chart.data[0].at(-1) ?? 0)] : [least, most];
}

function makePlot(box) {
  const keys = JSON.parse(box.dataset.keys);
  const isSparse = (chart, index) => chart.data[index].filter((value) => value !== null).length < 3;
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const options = {
    width: box.clientWidth,
    height: 170,
    legend: { show: keys.length > 1 },
    cursor: { y: false, points: { size: 6 } },
    scales: { x: { time: true, range: span } },
    axes: [{ ...axis, size: 28, space: 60, values: (_, times) => times.map(clockText) }, { ...axis, size: 48, space: 34 }],
    series: [{}, ...keys.map((key, index) => ({
      label: key.split("/").pop(),
      stroke: colour(COLOURS[index % COLOURS.length]),
      width: 2,
      spanGaps: true,
      points: { show: isSparse, size: 6 },
    }))],
  };
  box.replaceChildren();
  return { box, keys, points: new Map(), chart: new uPlot(options, [[]], box) };
}

function draw(plot) {
  const times = [...plot.points.keys()].sort((one, other) => one - other);
  plot.chart.setData([times, ...plot.keys.map((_, index) => times.map((time) => plot.points.get(time)[index] ?? null))]);
}

function put(plot, key, time, value) {
  const index = plot.keys.indexOf(key);
  if (index < 0) return false;
  const row = plot.points.get(time) ?? [];
  row[index] = value;
  plot.points.set(time, row);
  return true;
}

let asked = 0;
async function loadLines() {
  if (!plots.length) return;
  const mine = ++asked;
  const span = document.querySelector("#span input:checked")?.value ?? "30m";
  const query = new URLSearchParams({ span });
  for (const key of new Set(plots.flatMap((plot) => plot.keys))) query.append("key", key);
  const answer = await fetch(`${live.dataset.series}?${query}`, { headers: { "hx-request": "true" } }).catch(() => null);
  if (!answer?.ok || mine !== asked) return;
  const { lines, since, until } = await answer.json();
  range = [since, until];
  for (const plot of plots) {
    plot.points.clear();
    for (const key of plot.keys) lines[key]?.[0].forEach((time, at) => put(plot, key, time, lines[key][1][at]));
    draw(plot);
  }
}

function addPoints(values) {
  for (const plot of plots) {
    let isNew = false;
    for (const { key, number, at } of values) if (number !== null && at > range[0]) isNew = put(plot, key, at, number) || isNew;
    // Without a range there is nothing to draw it in; the lines come in a moment, with this value among them.
    if (isNew && range[1]) draw(plot);
  }
}

function start() {
  for (const box of document.querySelectorAll(".plot")) {
    if (!window.uPlot || !box.clientWidth) continue;
    plots.push(makePlot(box));
  }
  loadLines();
  document.getElementById("span")?.addEventListener("change", loadLines);
  // Steps of minutes come to be: the points that were added one by one give way to them.
  setInterval(loadLines, 30_000);
  new ResizeObserver(() => {
    for (const { box, chart } of plots) if (box.clientWidth) chart.setSize({ width: box.clientWidth, height: 170 });
  }).observe(live);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    plots.splice(0, plots.length, ...plots.map(({ box, chart }) => (chart.destroy(), makePlot(box))));
    loadLines();
  });
}

// -- menus, and forms that send themselves ---------------------------------------------------------------------------

const MENUS = "details.drop[open], details.chooser[open]";

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(MENUS)) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector(MENUS);
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (form?.dataset.sentBy && form.dataset.sentBy === event.target.name) form.requestSubmit();
});

// On a narrow screen the tabs go on beyond its edge.
document.querySelector(".device-tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// -- the stream ------------------------------------------------------------------------------------------------------

// In milliseconds.
const LEAST_WAIT = 1_000;
const MOST_WAIT = 60_000;
// Three times as long as the hub ever says nothing.
const SILENCE = 45_000;
// Names that a page did not show when it was loaded anew.
const MOST_KNOWN = 2_000;

// Without a template a page has what was seen: something new is a new tile. What the page has no place for even then is
// asked for once.
function grows(values) {
  if (!("grows" in live.dataset)) return false;
  const missing = values.map(({ key }) => key).filter((key) => !all("value", key).length);
  const place = `grown ${location.pathname}`;
  const known = new Set(JSON.parse(sessionStorage.getItem(place) ?? "[]"));
  if (missing.every((key) => known.has(key))) return false;
  sessionStorage.setItem(place, JSON.stringify([...known, ...missing].slice(-MOST_KNOWN)));
  setTimeout(() => location.reload(), 1_000);
  return true;
}

if (live) {
  if (document.readyState === "complete") start();
  else addEventListener("load", start, { once: true });
  const status = document.querySelector("p.live");
  const told = (isThere) => {
    status?.classList.toggle("lost", !isThere);
    if (status) status.textContent = isThere ? "Live" : "Not connected; trying again";
  };
  let stream;
  let again;
  let wait = LEAST_WAIT;
  let heard = performance.now();
  const follow = () => {
    heard = performance.now();
    stream = new EventSource(live.dataset.live);
    stream.addEventListener("open", () => {
      wait = LEAST_WAIT;
      told(true);
    });
    for (const name of ["open", "values", "states", "here"]) {
      stream.addEventListener(name, () => {
        heard = performance.now();
      });
    }
    stream.addEventListener("error", () => {
      told(false);
      // A browser connects again by itself where a connection broke, and gives up where it was refused.
      if (stream.readyState === EventSource.CLOSED) {
        again = setTimeout(follow, wait);
        wait = Math.min(2 * wait, MOST_WAIT);
        document.dispatchEvent(new CustomEvent("htmx:sseError", { detail: { source: stream } }));
      }
    });
    stream.addEventListener("values", (event) => {
      const values = JSON.parse(event.data);
      if (grows(values)) return;
      showValues(values);
      addPoints(values);
    });
    stream.addEventListener("states", (event) => showStates(JSON.parse(event.data)));
  };
  follow();
  addEventListener("pagehide", () => {
    clearTimeout(again);
    stream.close();
  });
  // A connection that went without a word, while the computer slept for instance, is open for as long as nobody looks.
  setInterval(() => {
    if (stream.readyState !== EventSource.OPEN || performance.now() - heard < SILENCE) return;
    told(false);
    stream.close();
    follow();
  }, LEAST_WAIT);
  // Out of the browser's memory a page comes back as it was left.
  addEventListener("pageshow", ({ persisted }) => persisted && follow());
  setInterval(showAges, 5_000);
}

// Lines of the data explorer and of dashboards, from the values that stand in the page.
// Dragging over a chart asks for that time; a click keeps the figures of one moment in the legend.

const COLOURS = 8;
// By its box: what was drawn, and who watches its width. A page may stand on a wall for months, and draw each minute.
const drawn = new Map();
// Where tiles have a height of their own; below this width they grow with what they show.
const fixed = matchMedia("(min-width: 60.01rem)");

function colour(name) {
  // light-dark() is only worked out where it is used.
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function figure(value) {
  if (value == null) return "";
  return value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) < 1000 ? 4 : 9 });
}

function zoom(box, plot) {
  const form = document.getElementById(box.dataset.zoom);
  const { left, width } = plot.select;
  if (!form || width < 4) return;
  const at = (x) => new Date(plot.posToVal(x, "x") * 1000).toISOString().slice(0, 19);
  form.elements.since.value = at(left);
  form.elements.until.value = at(left + width);
  form.elements.step.value = "0";
  form.requestSubmit();
}

// As everywhere else: UTC, and days and hours as ISO 8601 has them.
const none = null;
const TIMES = [
  [31_536_000, "{YYYY}", none, none, none, none, none, none, 1],
  [2_419_200, "{YYYY}-{MM}", none, none, none, none, none, none, 1],
  [86_400, "{MM}-{DD}", "\n{YYYY}", none, none, none, none, none, 1],
  [3_600, "{HH}:00", "\n{YYYY}-{MM}-{DD}", none, "\n{MM}-{DD}", none, none, none, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", none, "\n{MM}-{DD}", none, none, none, 1],
  [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", none, "\n{MM}-{DD}", none, none, none, 1],
];

function panel(box, times, lines, options) {
  const quiet = colour("--quiet");
  const axis = { stroke: quiet, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const scales = { x: { time: true } };
  const series = [{ value: (_, at) => (at == null ? "" : new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ")) }];
  const axes = [{ ...axis, space: 80, values: TIMES }];
  lines.forEach((line) => {
    const scale = options.own ? `y${line.measure}` : "y";
    if (!scales[scale]) {
      scales[scale] = {};
      if (axes.length < 3) axes.push({ ...axis, scale, size: 54, space: 32, side: axes.length === 1 ? 3 : 1, grid: axes.length === 1 ? axis.grid : { show: false } });
    }
    series.push({
      label: line.label, scale, width: 2, stroke: colour(`--line-${(line.number % COLOURS) + 1}`), spanGaps: false,
      points: { show: times.length < 60, size: 4 }, value: (_, value) => figure(value),
    });
  });
  const height = options.height;
  const plot = new uPlot({
    width: Math.max(160, box.clientWidth), height, scales, series, axes,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    legend: { show: options.legend, live: true },
    cursor: { y: false, lock: true, drag: { x: true, y: false, setScale: !box.dataset.zoom }, sync: options.sync ? { key: options.sync } : undefined },
    hooks: box.dataset.zoom ? { setSelect: [(made) => zoom(box, made)] } : {},
  }, [times, ...lines.map((line) => line.values)], box);
  // A tile is as high as it was made: its legend takes from the lines' room.
  const below = box.dataset.zoom || !fixed.matches ? 0 : plot.root.querySelector(".u-legend")?.offsetHeight ?? 0;
  if (below) plot.setSize({ width: plot.width, height: Math.max(80, height - below) });
  const watcher = new ResizeObserver(() => {
    const width = Math.max(160, box.clientWidth);
    if (width !== plot.width) plot.setSize({ width, height: plot.height });
  });
  watcher.observe(box);
  drawn.get(box).push({ plot, watcher });
}

function forget(box) {
  for (const { plot, watcher } of drawn.get(box) ?? []) {
    watcher.disconnect();
    plot.destroy();
  }
  drawn.delete(box);
}

function draw(box) {
  const { axes, times, lines } = JSON.parse(box.dataset.chart);
  lines.forEach((line, number) => { line.number = number; });
  const measures = [...new Set(lines.map((line) => line.measure))];
  // In a tile, a sentence below the lines takes of their room too.
  const beside = box.closest(".tile .content")?.children ?? [];
  const taken = !fixed.matches ? 0 : [...beside].reduce((sum, each) => sum + (each === box ? 0 : each.offsetHeight + 4), 0);
  const whole = (Number(box.dataset.height) || 320) - taken;
  const legend = lines.length > 1 || Boolean(box.dataset.zoom);
  forget(box);
  box.replaceChildren();
  box.dataset.drawn = "yes";
  drawn.set(box, []);
  if (axes === "stacked" && measures.length > 1) {
    const height = Math.max(120, whole / measures.length);
    for (const measure of measures) {
      panel(box, times, lines.filter((line) => line.measure === measure), { height, legend, sync: "stacked" });
    }
  } else {
    panel(box, times, lines, { height: whole, legend, own: axes === "overlapping" });
  }
}

function drawAll() {
  for (const box of drawn.keys()) if (!box.isConnected) forget(box);
  for (const box of document.querySelectorAll(".plot[data-chart]:not([data-drawn])")) draw(box);
}

document.addEventListener("change", (event) => {
  // A time that was chosen from the list takes the place of the one that was dragged.
  const form = event.target.form;
  if (event.target.name !== "span" || !form?.elements.since) return;
  form.elements.since.value = form.elements.until.value = "";
}, true);
document.body.addEventListener("htmx:afterSettle", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.querySelectorAll(".plot[data-drawn]").forEach(draw);
});
drawAll();

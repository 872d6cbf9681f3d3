"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const kept = new Set(report.kept);

// what is said of a trial once it is marked stands in the hover text of its point
const said = new Map(report.figures.front.data.filter((trace) => trace.customdata).flatMap((trace) => trace.customdata.map(
  (trial, i) => [trial, (trace.hovertext ?? trace.text)[i]])));
let byTrial;
function lookUp() {
  byTrial = new Map(report.figures.front.data.filter((trace) => trace.customdata).flatMap((trace) => trace.customdata.map(
    (trial, i) => [trial, { x: trace.x[i], y: trace.y[i], lines: said.get(trial).split("<br>") }])));
}
lookUp();

// the front against another cost: other points are on it, what is said of each is the same
const fronts = [report.figures.front, ...Object.values(report.axes).map((figure) => ({ ...figure, data: figure.data.map((trace) => {
  if (!trace.customdata) return trace;
  return { ...trace, [trace.textposition ? "hovertext" : "text"]: trace.customdata.map((trial) => said.get(trial)) };
}) }))];
const axis = document.getElementById("axis");
axis.addEventListener("change", () => {
  report.figures.front = fronts[axis.selectedIndex];
  lookUp();
  drawAll();
});

function inColour(value) {
  if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
  if (Array.isArray(value)) return value.some((v) => typeof v === "string" || typeof v === "object") ? value.map(inColour) : value;
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, inColour(v)]));
  return value;
}

function layoutOf(plain) {
  const axis = { gridcolor: colour("--grid"), zeroline: false, linecolor: colour("--rule"), automargin: true };
  const layout = inColour(plain);
  return {
    margin: { l: 56, r: 16, t: 12, b: 48 }, hovermode: "closest", autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("--ink") },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--blue"), font: { color: colour("--ink"), size: 13 }, align: "left" },
    legend: { orientation: "h", y: 1.08, x: 0 },
    ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
  };
}

const settings = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
function drawAll() {
  const all = Object.entries(report.figures).map(([id, f]) => Plotly.react(id, inColour(f.data), layoutOf(f.layout), settings));
  return Promise.all(all).then(() => { ring(); });
}

let marked = null;
function ring() {
  const t = byTrial.get(marked);
  const data = report.figures.front.data;
  const at = t ? { x: [[t.x]], y: [[t.y]] } : { x: [[]], y: [[]] };
  return Plotly.restyle("front", at, [data.length - 1]);
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function mark(trial) {
  const t = byTrial.get(trial);
  if (!t) return;
  marked = trial;
  ring();
  document.querySelectorAll("tr[data-trial]").forEach((row) => row.classList.toggle("is-marked", Number(row.dataset.trial) === trial));
  const command = report.commands[kept.has(trial) ? "export" : "retrain"].replaceAll("NUMBER", trial);
  const head = element("p", "");
  const [, line, accuracy, costs] = t.lines;
  head.append(element("strong", `Trial ${trial}`), ` · ${accuracy} · ${costs}`);
  const row = element("div", "", { class: "command" });
  const copy = element("button", "copy", { type: "button", id: "copy" });
  copy.addEventListener("click", () => copyText(command).then((ok) => { copy.textContent = ok ? "copied" : "select and copy"; }));
  row.append(element("code", command, { id: "command" }), copy);
  document.getElementById("marked").replaceChildren(head, element("p", line, { class: "arch" }), row);
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", text);
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}

// Plotly's own click event is lost when the button goes down within 50 ms of the last movement: it takes the hover away and
// does not look again so soon. What was hovered a moment ago is what the reader means.
function marksOnClick(figure) {
  let under = null, leaving;
  figure.on("plotly_hover", (event) => {
    clearTimeout(leaving);
    under = event.points.find((p) => p.customdata !== undefined)?.customdata ?? null;
  });
  figure.on("plotly_unhover", () => { leaving = setTimeout(() => { under = null; }, 300); });
  figure.addEventListener("click", (event) => { if (under !== null && event.target.closest(".draglayer")) mark(under); });
}

drawAll().then(() => {
  marksOnClick(document.getElementById("front"));
  document.body.dataset.ready = "yes";
});
document.querySelectorAll("button[data-mark]").forEach((b) => b.addEventListener("click", () => mark(Number(b.dataset.mark))));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("beforeprint", () => { document.documentElement.classList.add("print"); drawAll(); });
addEventListener("afterprint", () => { document.documentElement.classList.remove("print"); drawAll(); });

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
    (trial, i) => [trial, { x: trace.x[i], y: trace.y[i] }])));
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
    legend: innerWidth < 600 ? { orientation: "h", y: -0.3, yanchor: "top", x: 0 } : { orientation: "h", y: 1.08, x: 0 },
    ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
  };
}

// the buttons are listed, so that none that plotly brings some day, such as one that uploads, comes with it
const settings = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };
const plain = { ...settings, modeBarButtons: [["toImage"]] }; // of what has no axes to zoom
function drawAll() {
  const all = Object.entries(report.figures).map(([id, f]) => Plotly.react(id, inColour(f.data), layoutOf(f.layout), f.data[0]?.type === "parcoords" ? plain : settings));
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

const percent = (share) => (share === null ? "" : `${(100 * share).toFixed(1)} %`);
const counted = (n) => [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].filter(([size]) => n >= size).map(([size, unit]) => `${(n / size).toPrecision(3)} ${unit}`)[0] ?? String(n);
const rowOf = new Map(report.trials.map((row) => [row.trial, row]));

function mark(trial) {
  const t = rowOf.get(trial);
  if (!t) return;
  marked = trial;
  ring();
  document.querySelectorAll("tr[data-trial]").forEach((row) => row.classList.toggle("is-marked", Number(row.dataset.trial) === trial));
  const head = element("p", "");
  const lucky = t.expected !== null && t.expected !== t.accuracy ? ` (expected ${percent(t.expected)})` : "";
  head.append(element("strong", `Trial ${trial}`), ` · ${[t.accuracy === null ? "" : `${percent(t.accuracy)}${lucky}`, t.state, t.by, t.cause].filter(Boolean).join(" · ")}`);
  const costs = element("p", Object.entries(t.costs).map(([label, value]) => `${label}: ${value}`).join(" · "), { class: "note" });
  const facts = element("div", "", { class: "facts" });
  facts.append(optionsOf(t), curveOf(t));
  const isWhole = t.accuracy !== null;
  const names = [...(isWhole && kept.has(trial) ? ["export"] : []), ...(isWhole ? ["retrain"] : []), "show"];
  const commands = names.map((name, i) => commandRow(report.commands[name].replaceAll("NUMBER", trial), i === 0));
  document.getElementById("marked").replaceChildren(head, diagramOf(t), costs, facts, ...commands);
}

function commandRow(command, isFirst) {
  const row = element("div", "", { class: "command" });
  const copy = element("button", "copy", { type: "button", ...(isFirst && { id: "copy" }) });
  copy.addEventListener("click", () => copyText(command).then((ok) => { copy.textContent = ok ? "copied" : "select and copy"; }));
  row.append(element("code", command, isFirst ? { id: "command" } : {}), copy);
  return row;
}

function diagramOf(t) {
  const row = element("div", "", { class: "network arch", "aria-label": t.stages });
  row.append(element("span", "image", { class: "end" }));
  for (const b of t.blocks) {
    const extras = [b.mlp === "conv" && " + conv MLP", b.se_ratio > 0 && " + SE"].filter(Boolean).join("");
    row.append(element("span", `${b.depth} × ${b.mixer} · ${b.width}${extras}`, { style: `background: var(--mixer-${b.mixer}, var(--card))` }));
  }
  row.append(element("span", "classes", { class: "end" }));
  return row;
}

function optionsOf(t) {
  const table = element("table", ""), head = element("tr", "");
  head.append(element("th", ""), ...t.blocks.map((_, i) => element("th", `stage ${i + 1}`)));
  table.append(head);
  for (const name of new Set(t.blocks.flatMap((b) => Object.keys(b)))) {
    const row = element("tr", "");
    row.append(element("td", name.replaceAll("_", " ")), ...t.blocks.map((b) => element("td", String(b[name] ?? ""))));
    table.append(row);
  }
  const box = element("div", "", { class: "scroll" });
  box.append(table, element("p", Object.entries(t.network).map(([k, v]) => `${k.replaceAll("_", " ")} ${v}`).join(" · "), { class: "note" }));
  return box;
}

function curveOf(t) {
  const box = element("div", ""), curve = t.curve.filter((share) => share !== null);
  if (!curve.length) return box;
  const low = Math.min(...curve), high = Math.max(...curve), wide = Math.max(1, curve.length - 1);
  const points = curve.map((share, i) => [10 + 180 * i / wide, 95 - 85 * (share - low) / (high - low || 1)]);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 200 100");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Accuracy by epoch: ${curve.map(percent).join(", ")}`);
  svg.innerHTML = `<polyline points="${points.map((p) => p.join(",")).join(" ")}" fill="none" stroke="currentColor" stroke-width="2"/>`
    + points.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="3" fill="currentColor"/>`).join("");
  box.append(element("p", `Accuracy by epoch: ${curve.map(percent).join(", ")}`, { class: "note" }), svg);
  return box;
}

// all trials: sorted by a click on a heading, filtered by what is typed
const MOST_ROWS = 500;
const columns = [["trial", (v) => v, "n"], ["state", undefined, "state"], ["accuracy", percent, "n"], ["expected", percent, "n"], ["macs", counted, "n"],
  ["params", counted, "n"], ["seconds", (v) => v.toFixed(1), "n"], ["stages", undefined, "arch"], ["by"], ["cause"]];
let sortedBy = "trial", falls = false;
const searched = (row) => Object.values(row).filter((v) => typeof v !== "object").join(" ").concat(" ", row.blocks.map((b) => b.mixer).join(" ")).toLowerCase();
const words = new Map(report.trials.map((row) => [row.trial, searched(row)]));
function chosenRows() {
  const asked = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = report.trials.filter((row) => asked.every((word) => words.get(row.trial).includes(word)));
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const isEmpty = (v) => v === null || v === "";
  return rows.sort((a, b) => isEmpty(a[sortedBy]) - isEmpty(b[sortedBy]) || (falls ? -1 : 1) * order(a[sortedBy], b[sortedBy]));
}

function showTrials() {
  const rows = chosenRows(), [head, body] = [document.querySelector("#all-trials thead tr"), document.querySelector("#all-trials tbody")];
  head.querySelectorAll("th").forEach((th) => th.setAttribute("aria-sort", th.dataset.key !== sortedBy ? "none" : falls ? "descending" : "ascending"));
  body.replaceChildren(...rows.slice(0, MOST_ROWS).map((row) => {
    const tr = element("tr", "", { "data-trial": row.trial });
    tr.append(...columns.map(([key, write = String, kind = ""]) => element("td", row[key] === null ? "" : write(row[key]), kind ? { class: kind } : {})));
    const cell = element("td", "", { class: "noprint" }), button = element("button", "show", { type: "button", "aria-label": `Show trial ${row.trial}` });
    button.addEventListener("click", () => { mark(row.trial); document.getElementById("marked").scrollIntoView({ block: "center" }); });
    cell.append(button);
    tr.append(cell);
    return tr;
  }));
  const more = rows.length > MOST_ROWS ? `, the first ${MOST_ROWS} shown` : "";
  document.getElementById("count").textContent = `${rows.length} of ${report.trials.length} trials${more}`;
}

function asCsv(rows) {
  const safe = (v) => { const text = String(v ?? ""); return `"${(/^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text).replaceAll('"', '""')}"`; };
  return [columns.map(([key]) => key), ...rows.map((row) => columns.map(([key]) => row[key]))].map((cells) => cells.map(safe).join(",")).join("\r\n");
}

document.querySelector("#all-trials thead tr").append(...columns.map(([key, , kind = ""]) => {
  const th = element("th", "", { "data-key": key, ...(kind === "n" && { class: "n" }) }), button = element("button", key, { type: "button" });
  button.addEventListener("click", () => { falls = sortedBy === key ? !falls : false; sortedBy = key; showTrials(); });
  th.append(button);
  return th;
}), element("th", ""));
document.getElementById("filter").addEventListener("input", showTrials);
document.getElementById("download").addEventListener("click", () => {
  const link = element("a", "", { download: `${report.name}-trials.csv`, href: URL.createObjectURL(new Blob([asCsv(chosenRows())], { type: "text/csv" })) });
  link.click();
  URL.revokeObjectURL(link.href);
});
showTrials();

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

// with the keyboard: left and right go to the next cheaper and dearer network, up and down along accuracy
const KEYS = { ArrowRight: ["x", 1], ArrowLeft: ["x", -1], ArrowUp: ["y", 1], ArrowDown: ["y", -1], Home: ["x", -Infinity], End: ["x", Infinity] };
function marksOnKeys(figure) {
  figure.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.target !== figure) return;
    event.preventDefault();
    const [along, by] = KEYS[event.key];
    const order = [...byTrial].filter(([, at]) => at.x !== null && at.y !== null).sort(([, a], [, b]) => a[along] - b[along]).map(([trial]) => trial);
    const here = order.indexOf(marked);
    const next = here < 0 && Number.isFinite(by) ? 0 : Math.min(order.length - 1, Math.max(0, here + by));
    if (order.length) mark(order[next]);
  });
}

drawAll().then(() => {
  marksOnKeys(document.getElementById("front"));
  marksOnClick(document.getElementById("front"));
  document.body.dataset.ready = "yes";
});
document.querySelectorAll("button[data-mark]").forEach((b) => b.addEventListener("click", () => mark(Number(b.dataset.mark))));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("beforeprint", () => { document.documentElement.classList.add("print"); drawAll(); });
addEventListener("afterprint", () => { document.documentElement.classList.remove("print"); drawAll(); });

// What moves on a page: copy buttons, tables that sort, figures, and the page itself while a study runs.
"use strict";

const say = (text) => { document.getElementById("said").textContent = text; };

// ------------------------------------------------------------------------------------------------- copying

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a file, or a page that is not served from this machine: browsers give it no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  say("Copied to the clipboard.");
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// ------------------------------------------------------------------------------------------------- sorting

const worth = (cell) => {
  const given = cell.dataset.value ?? cell.textContent.trim();
  const value = Number(given);
  return given === "" ? null : Number.isNaN(value) ? given : value;
};

function sort(button) {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending", column = head.cellIndex;
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [a, b].map((row) => worth(row.cells[column]));
    if (x === null || y === null) return (x === null) - (y === null); // what is not known stands last
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return up ? order : -order;
  });
  body.append(...rows);
}

function filter(input) {
  const wanted = input.value.toLowerCase();
  for (const row of document.querySelectorAll(`#${input.dataset.filters} tbody tr`)) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
}

// ------------------------------------------------------------------------------------------------- figures

const dark = matchMedia("(prefers-color-scheme: dark)");
const DARK = {
  paper_bgcolor: "#14181d", plot_bgcolor: "#14181d", "font.color": "#e6eaf0",
  "xaxis.gridcolor": "#343c46", "yaxis.gridcolor": "#343c46", "xaxis.linecolor": "#343c46", "yaxis.linecolor": "#343c46",
};
const put = (layout, path, value) => {
  const names = path.split("."), last = names.pop();
  let at = layout;
  for (const name of names) at = at[name] ??= {};
  at[last] = value;
};

// What is black on paper would be lost on a dark page.
function themed(made) {
  if (!dark.matches) return made;
  const turned = JSON.parse(JSON.stringify(made).replaceAll('"#000000"', '"#e6eaf0"')
    .replaceAll('"color":"black"', '"color":"#e6eaf0"').replaceAll('"color":"white"', '"color":"#14181d"'));
  for (const [path, value] of Object.entries(DARK)) put(turned.layout, path, value);
  return turned;
}

// The title stands above as text that wraps and is read aloud; the legend below, with a line for each entry.
function laidOut(made, wide) {
  const entries = made.data.filter((trace) => trace.name && trace.showlegend !== false).length;
  const below = 62 + 19 * entries;
  return {
    ...made.layout, title: undefined, width: wide, height: Math.min(340, Math.max(260, wide * 0.55)) + below + 20,
    margin: { ...made.layout.margin, t: wide > 480 ? 34 : 12, b: below, l: wide < 480 ? 50 : 70, r: wide < 480 ? 12 : 30 },
    legend: { ...made.layout.legend, yref: "container", y: 0.01, yanchor: "bottom", font: { size: wide < 480 ? 10 : 12 } },
  };
}

function caption(figure, title) {
  const page = new DOMParser().parseFromString(title.replace("<br>", "\n"), "text/html");
  const [first, ...rest] = page.body.textContent.split("\n");
  const above = figure.querySelector("figcaption") ?? document.createElement("figcaption");
  const strong = document.createElement("strong");
  strong.textContent = first;
  above.replaceChildren(strong, document.createElement("br"), rest.join(" "));
  figure.prepend(above);
}

// Plotly is larger than all else: a report has it inside, a page asks for it when it can be read already.
let asked = null;

function plotly() {
  if (window.Plotly) return Promise.resolve();
  return asked ??= new Promise((loaded, failed) => {
    const script = document.createElement("script");
    script.src = "/adamtune/static/plotly.js";
    script.onload = loaded;
    script.onerror = () => failed(new Error("Plotly did not arrive"));
    document.head.append(script);
  });
}

// What a figure shows: it stands in the page, or is asked for; null where there are too few trials for it yet.
async function load(figure) {
  const inside = figure.querySelector("script");
  if (inside) return figure.made ??= JSON.parse(inside.textContent);
  const answer = await fetch(figure.dataset.from);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.status === 204 ? null : answer.json();
}

async function draw(figure, loading) {
  const place = figure.querySelector(".drawn");
  try {
    const loaded = await loading;
    if (loaded === null) { figure.remove(); return; }
    const made = themed(loaded), wide = place.clientWidth || 600;
    caption(figure, made.layout.title?.text ?? figure.dataset.figure);
    place.querySelector(".waiting")?.remove();
    await plotly();
    await Plotly.react(place, made.data, laidOut(made, wide),
      { responsive: false, displaylogo: false, displayModeBar: wide > 480 ? "hover" : false });
    figure.dataset.drawn = "yes";
  } catch (error) {
    const said = document.createElement("p");
    said.className = "waiting";
    said.textContent = `This figure could not be drawn: ${error.message}`;
    place.replaceChildren(said);
  }
}

// All are asked for at once and drawn one by one, from where one looks: meanwhile the page can be read and scrolled.
async function drawAll() {
  const away = (figure) => { const { top, bottom } = figure.getBoundingClientRect(); return Math.max(top - innerHeight, -bottom, 0); };
  const figures = [...document.querySelectorAll("figure[data-figure]")].sort((a, b) => away(a) - away(b));
  const loading = figures.map(load);
  if (figures.length) setTimeout(() => plotly().catch(() => {})); // while the server makes the first of them
  for (const each of loading) each.catch(() => {}); // is said where it is drawn
  for (const [at, figure] of figures.entries()) {
    await new Promise((wake) => { setTimeout(wake); });
    await draw(figure, loading[at]);
  }
}

// ------------------------------------------------------------------------------------------------- living

// While something runs, ask every few seconds whether anything is new; the server answers 304 until then.
async function live(main) {
  let known = `"${main.dataset.version}"`;
  for (;;) {
    await new Promise((wake) => { setTimeout(wake, 1000 * Number(main.dataset.live)); });
    if (document.hidden) continue;
    try {
      const answer = await fetch(location.href, { headers: { "If-None-Match": known }, cache: "no-store" });
      if (answer.status !== 200) continue;
      known = answer.headers.get("ETag");
      refresh(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* the server is gone or busy: ask again */ }
  }
}

// The new page takes the place of the old one, but figures stay and change, and so does where one has scrolled to.
function refresh(page) {
  const old = document.getElementById("main"), fresh = page.getElementById("main");
  const figures = new Map([...old.querySelectorAll("figure[data-figure]")].map((each) => [each.dataset.figure, each]));
  const open = [...old.querySelectorAll("details")].map((each) => each.open);
  for (const each of fresh.querySelectorAll("figure[data-figure]")) {
    const kept = figures.get(each.dataset.figure);
    if (kept) each.replaceWith(kept);
  }
  old.replaceChildren(...fresh.childNodes);
  old.querySelectorAll("details").forEach((each, at) => { each.open = open[at] ?? false; });
  document.title = page.title;
  drawAll();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copy) copy(button);
  else if (button?.closest("th")) sort(button);
});
document.addEventListener("input", (event) => { if (event.target.dataset.filters) filter(event.target); });
dark.addEventListener("change", drawAll);
let waiting = 0;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawAll, 150); });
drawAll();
const main = document.getElementById("main");
if (main.dataset.live) live(main);

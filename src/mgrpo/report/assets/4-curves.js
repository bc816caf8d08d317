"use strict";

// The curves: one plotly graph a panel, all over the same steps. report/panels.py makes the figures; points, colours,
// zoom, smoothing and the scale of the heights are added here.

const FAINT = 0.28; // opacity of the raw curve behind a smoothed one
const BAND = 0.16; // opacity of a band
const CONFIG = { displayModeBar: false, doubleClick: false, responsive: true };

class Curves {
  #boxes = new Map(); // of each panel, by its id: {figure, caption, graph, picked}
  #hidden = new Set(); // labels of runs switched off in the legend
  #range = null; // [first, last] step, null for all of them
  #picked = null; // the step that the rollouts show
  #isHeld = false; // the mouse, over a graph
  #isLate = false; // with drawing, for it was held

  /** @param onPick called with the run's index and the step that was clicked. */
  constructor(onPick) {
    this.onPick = onPick;
    byId("smoothing").addEventListener("input", () => this.#drawAll());
    byId("logarithmic").addEventListener("change", () => this.#drawAll());
    byId("zoom-all").addEventListener("click", () => this.zoom(null));
    for (const id of ["zoom-from", "zoom-to"]) byId(id).addEventListener("change", () => this.#zoomAsTyped());
    // A graph that is drawn anew while the mouse is dragged across it would lose the drag.
    byId("panels").addEventListener("pointerdown", () => (this.#isHeld = true));
    for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => this.#letGo());
  }

  /** Makes the boxes of the page; they have their height before plotly is there. */
  show(data) {
    this.data = data;
    for (const part of [byId("curves"), document.querySelector("nav [href='#curves']")])
      part.hidden = data.results !== null; // an evaluation has one step
    this.#showLegend();
    const figures = data.panels.map((panel) => this.#boxOf(panel).figure);
    const shown = byId("panels").children;
    if (figures.length !== shown.length || figures.some((figure, i) => figure !== shown[i]))
      byId("panels").replaceChildren(...figures);
    if (!figures.length) byId("panels").textContent = "No step has been logged yet.";
    this.#showZoom();
    this.#drawAll();
  }

  #showLegend() {
    const { runs } = this.data;
    if (runs.length < 2 || byId("legend").children.length === runs.length) return;
    const buttons = runs.map(({ label }, index) => {
      const toggle = ({ currentTarget }) => {
        if (!this.#hidden.delete(label)) this.#hidden.add(label);
        currentTarget.setAttribute("aria-pressed", String(!this.#hidden.has(label)));
        this.#drawAll();
      };
      const attributes = { type: "button", "aria-pressed": "true", onclick: toggle };
      return element("button", attributes, swatchOf(index), " ", label);
    });
    byId("legend").replaceChildren(...buttons);
  }

  #boxOf(panel) {
    let box = this.#boxes.get(panel.id);
    if (!box) {
      const graph = element("div", { class: "graph", role: "img", "aria-label": panel.title });
      const picked = element("div", { class: "picked", hidden: true });
      const caption = element("figcaption");
      const figure = element(
        "figure",
        { class: "panel" },
        caption,
        element("div", { class: "plot" }, graph, picked),
      );
      box = { figure, caption, graph, picked };
      this.#boxes.set(panel.id, box);
    }
    replaceIfNew(box.caption, captionOf(panel, this.data.runs.length));
    return box;
  }

  #letGo() {
    this.#isHeld = false;
    if (this.#isLate) setTimeout(() => this.#drawAll()); // behind what plotly does at the end of a drag
  }

  /** Draws the panels one after another, so that the page answers in between. */
  async start() {
    this.colours = coloursNow();
    for (const panel of this.data.panels) {
      this.#draw(panel);
      await new Promise((resume) => setTimeout(resume)); // and not at the next frame: a hidden page has none
    }
    byId("panels").setAttribute("aria-busy", "false");
    new ResizeObserver(() => this.#placeAll()).observe(byId("panels"));
  }

  recolour() {
    this.colours = coloursNow();
    this.#drawAll();
  }

  /** Fits the graphs to their boxes, which have another width on paper. */
  resize() {
    for (const { graph } of this.#boxes.values())
      if (graph.isConnected && graph.on) Plotly.relayout(graph, { autosize: true });
  }

  #drawAll() {
    byId("smoothing-value").textContent = String(Number(byId("smoothing").value));
    if (!window.Plotly || !this.colours) return;
    this.#isLate = this.#isHeld;
    if (this.#isHeld) return;
    for (const panel of this.data.panels) this.#draw(panel);
  }

  #draw(panel) {
    const { graph } = this.#boxes.get(panel.id);
    const traces = this.#traces(panel);
    const isFirst = !graph.on;
    Plotly.react(graph, traces, this.#layout(panel, traces), CONFIG);
    if (isFirst) this.#listen(graph);
    graph.setAttribute("aria-label", summaryOf(panel, traces));
    this.#place(panel);
  }

  #listen(graph) {
    graph.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change) this.zoom([change["xaxis.range[0]"], change["xaxis.range[1]"]]);
    });
    graph.on("plotly_doubleclick", () => this.zoom(null));
    graph.on("plotly_click", ({ points, event }) => {
      const height = event.clientY - graph.getBoundingClientRect().top - graph.layout.margin.t;
      const away = (point) => Math.abs(point.yaxis.d2p(point.y) - height);
      const nearest = points.reduce((best, point) => (away(point) < away(best) ? point : best));
      this.onPick(nearest.data.meta.run, nearest.x);
    });
  }

  /** Shows the steps from first to last in every panel; null: all of them. */
  zoom(range) {
    this.#range = range && range[0] < range[1] ? range.map(Number) : null;
    this.#showZoom();
    this.#drawAll();
  }

  #zoomAsTyped() {
    const typed = (id, otherwise) => (byId(id).value === "" ? otherwise : Number(byId(id).value));
    this.zoom([typed("zoom-from", this.data.steps[0]), typed("zoom-to", this.data.steps[1])]);
  }

  #showZoom() {
    const [first, last] = this.#range ?? this.data.steps;
    byId("zoom-from").value = Math.ceil(first);
    byId("zoom-to").value = Math.floor(last);
  }

  /** The panel's lines with their points, of the runs that are shown. */
  #traces({ data }) {
    const weight = Number(byId("smoothing").value);
    return data.filter(this.#isShown).flatMap((trace) => {
      const { x, y } = pointsOf(this.data.runs[trace.meta.run], trace.meta.metric);
      if (!x.length) return [];
      const color = this.colours[trace.line.color];
      const line = { ...trace.line, color };
      const mode = x.length > 1 || trace.stackgroup ? "lines" : "markers";
      const drawn = { ...trace, x, y, mode, line, marker: { color }, name: unmarked(trace.name) };
      if (trace.fill) drawn.fillcolor = color.replace("rgb(", "rgba(").replace(")", `, ${BAND})`);
      if (!weight || trace.hoverinfo === "skip") return [drawn];
      const smooth = { ...drawn, y: smoothed(y, weight) };
      const raw = { ...drawn, line: { color, width: 1 }, opacity: FAINT, hoverinfo: "skip" };
      return trace.stackgroup ? [smooth] : [raw, smooth];
    });
  }

  #isShown = ({ legendgroup }) => !this.#hidden.has(legendgroup);

  #layout({ layout }, traces) {
    const { text, quiet, line, surface } = this.colours;
    const axis = { gridcolor: line, linecolor: line, tickcolor: line };
    const range = [...(this.#range ?? layout.xaxis.range)]; // a copy: plotly changes it in a drag
    const isLog = byId("logarithmic").checked && !traces.some(({ stackgroup }) => stackgroup); // areas have none
    const heights = (!isLog && layout.yaxis.range) || heightsOf(traces, range, isLog);
    const lines = layout.shapes.filter(this.#isShown);
    return {
      ...layout,
      dragmode: isTouched() ? false : "zoom", // a finger that drags scrolls the page
      font: { ...layout.font, color: quiet, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: surface, bordercolor: line, font: { ...layout.hoverlabel.font, color: text } },
      xaxis: { ...layout.xaxis, ...axis, range, fixedrange: isTouched() },
      yaxis: { ...layout.yaxis, ...axis, range: heights, type: isLog ? "log" : "linear" },
      shapes: lines.map((shape) => ({ ...shape, line: { ...shape.line, color: this.colours[shape.line.color] } })),
    };
  }

  /** Marks the step that the rollouts show; null: none. */
  pick(step) {
    this.#picked = step;
    this.#placeAll();
  }

  #placeAll() {
    for (const panel of this.data.panels) this.#place(panel);
  }

  // A line of our own over the graph: to redraw twenty graphs at each press of an arrow key takes too long.
  #place(panel) {
    const { graph, picked } = this.#boxes.get(panel.id);
    const axis = graph._fullLayout?.xaxis;
    if (!axis || this.#picked === null) return void (picked.hidden = true);
    const at = axis.d2p(this.#picked);
    picked.hidden = at < 0 || at > axis._length;
    picked.style.left = `${axis._offset + at}px`;
  }
}

/** Title, explanation and legend of a panel. */
function captionOf({ title, unit, is_measured, about, key, data }, numRuns) {
  const heading = element("h3", {}, title, " ", element("small", {}, unit), " ", is_measured ? measuredMark() : null);
  const sentences = about.map(([metric, meaning]) => element("p", {}, element("code", {}, metric), " ", meaning));
  const isStack = data.some(({ stackgroup }) => stackgroup);
  const lines = (numRuns === 1 || isStack) && !key && data.length > 1 ? data : [];
  const entries = lines.map(({ name, meta, line }) => {
    const mark = meta.measured && !is_measured ? measuredMark() : null;
    return element("span", {}, swatchOf(SERIES.indexOf(line.color), isStack), ` ${name} `, mark);
  });
  return [
    heading,
    element(
      "details",
      { class: "about" },
      element("summary", { "aria-label": `About ${title}` }, "?"),
      element("div", {}, sentences),
    ),
    element("p", { class: "key" }, key ?? entries),
  ];
}

function measuredMark() {
  const title = "measured with the right answers, which training never sees";
  return element("span", { class: "measured", title }, "measured");
}

function summaryOf({ title }, traces) {
  const ends = traces
    .filter(({ hoverinfo }) => hoverinfo !== "skip")
    .map(({ name, y }) => `${name}: from ${number(y[0])} to ${number(y.at(-1))}`);
  return visible(`${title}. ${ends.join("; ")}`);
}

function pointsOf(run, metric) {
  const values = run.metrics[metric] ?? [];
  const kept = run.steps.map((step, i) => [step, values[i] ?? null]).filter(([, value]) => value !== null);
  return { x: kept.map(([step]) => step), y: kept.map(([, value]) => value) };
}

/** Exponential mean over the points so far, without the pull of its start towards 0. */
function smoothed(values, weight) {
  let sum = 0;
  let total = 0;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

/** The y range of the steps in a range, in the axis's own numbers: a logarithmic axis has exponents. */
function heightsOf(traces, [first, last], isLog) {
  const values = [];
  const sums = new Map(); // of stacked lines
  for (const { x, y, stackgroup } of traces) {
    x.forEach((step, i) => {
      if (step < first || step > last || (isLog && y[i] <= 0)) return;
      if (stackgroup) sums.set(step, (sums.get(step) ?? 0) + y[i]);
      else values.push(isLog ? Math.log10(y[i]) : y[i]);
    });
  }
  values.push(...sums.values());
  if (!values.length) return [0, 1];
  const low = sums.size ? 0 : values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const edge = (high - low || Math.abs(high) || 1) * 0.06;
  return [sums.size ? 0 : low - edge, high + edge];
}

/** A text that plotly, which knows a few tags and entities, shows as it is. */
function unmarked(text) {
  return visible(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function isTouched() {
  return matchMedia("(pointer: coarse)").matches;
}

/** The style sheet's colours as plotly takes them, of the scheme that is shown. */
function coloursNow() {
  const probe = element("span");
  document.body.append(probe);
  const names = ["text", "quiet", "line", "surface", "raised", ...SERIES];
  const colours = {};
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colours;
}

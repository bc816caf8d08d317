"use strict";

// The curves: one plotly graph a panel, all over the same steps.

const FAINT = 0.28; // opacity of the raw curve behind a smoothed one
const MARGIN = { l: 46, r: 10, t: 6, b: 26 };
const MAX_STACKS = 4; // runs whose phases are shown; of more there are the totals

class Curves {
  #panels = []; // {definition, run (a stack's, else null), figure, graph, picked, traces}
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
    // A graph that is drawn anew while the mouse is dragged across it would lose the drag.
    byId("panels").addEventListener("pointerdown", () => (this.#isHeld = true));
    document.addEventListener("pointerup", () => this.#letGo());
    document.addEventListener("pointercancel", () => this.#letGo());
    for (const id of ["zoom-from", "zoom-to"]) byId(id).addEventListener("change", () => this.#zoomAsTyped());
  }

  /** Makes what is missing of the page's boxes; they have their height before plotly is there. */
  show(data) {
    this.data = data;
    this.#showLegend();
    const wanted = data.panels.flatMap((definition) => this.#panelsOf(definition));
    const keyOf = ({ definition, run }) => `${definition.id}/${definition.lines[0].metric}/${run ?? ""}`;
    const known = new Map(this.#panels.map((panel) => [keyOf(panel), panel]));
    this.#panels = wanted.map((panel) => {
      const box = known.get(keyOf(panel)) ?? this.#makePanel(panel);
      return Object.assign(box, panel);
    });
    const figures = this.#panels.map((panel) => panel.figure);
    const shown = byId("panels").children;
    if (figures.length !== shown.length || figures.some((figure, i) => figure !== shown[i]))
      byId("panels").replaceChildren(...figures);
    byId("panels").classList.toggle("empty", !figures.length);
    if (!figures.length) byId("panels").textContent = "No step has been logged yet.";
    this.#showZoom();
    if (window.Plotly) this.#drawAll();
  }

  /** Of one run a panel holds all its lines; of several each line has a panel, in which the runs are compared. */
  #panelsOf(definition) {
    const { runs } = this.data;
    const { kind, title, lines } = definition;
    if (kind === "stack" && runs.length <= MAX_STACKS) {
      return runs.map((_, run) => ({ definition, run })).filter(({ run }) => this.#hasData(definition, run));
    }
    if (kind === "stack") return [{ definition: { ...definition, kind: "total" }, run: null }];
    if (kind === "band" || runs.length === 1 || lines.length === 1) return [{ definition, run: null }];
    return lines.map((line) => ({
      definition: { ...definition, title: `${title}: ${line.label}`, lines: [line] },
      run: null,
    }));
  }

  #hasData({ lines }, run) {
    return lines.some(({ metric }) => pointsOf(this.data.runs[run], metric).x.length);
  }

  #showLegend() {
    const { runs } = this.data;
    const legend = byId("legend");
    if (runs.length < 2 || legend.children.length === runs.length) return;
    const buttons = runs.map((run, index) =>
      element(
        "button",
        { type: "button", "aria-pressed": "true", onclick: (event) => this.#toggle(run.label, event.currentTarget) },
        swatch(colourOf(index), dashOf(index)),
        " ",
        run.label,
      ),
    );
    legend.replaceChildren(...buttons);
  }

  #toggle(label, button) {
    if (!this.#hidden.delete(label)) this.#hidden.add(label);
    button.setAttribute("aria-pressed", String(!this.#hidden.has(label)));
    this.#drawAll();
  }

  #makePanel({ definition, run }) {
    const isMeasured = definition.lines.every((line) => line.knows_answers);
    const title = element("h3", {}, definition.title);
    if (run !== null && this.data.runs.length > 1) title.append(`, ${visible(this.data.runs[run].label)}`);
    if (definition.unit) title.append(" ", element("small", {}, definition.unit));
    if (isMeasured) title.append(" ", measuredMark());
    const graph = element("div", { class: "graph", role: "img", "aria-label": definition.title });
    const picked = element("div", { class: "picked", hidden: true });
    const figure = element(
      "figure",
      { class: "panel" },
      element("figcaption", {}, title, aboutOf(definition), this.#keyOf(definition, isMeasured)),
      element("div", { class: "plot" }, graph, picked),
    );
    return { figure, graph, picked };
  }

  #keyOf({ kind, lines }, isMeasured) {
    const [first, lower, upper] = lines;
    if (kind === "band")
      return element("p", { class: "key" }, `${first.label}; beyond the shading ${lower.label}, ${upper.label}`);
    if (kind === "total") return element("p", { class: "key" }, lines.map(({ label }) => label).join(" + "));
    if (lines.length < 2) return element("p", { class: "key" });
    const entries = lines.map((line, index) =>
      element(
        "span",
        {},
        swatch(colourOf(index), kind === "stack" ? "solid" : dashOf(index)),
        ` ${line.label} `,
        line.knows_answers && !isMeasured ? measuredMark() : null,
      ),
    );
    return element("p", { class: "key" }, entries);
  }

  #letGo() {
    this.#isHeld = false;
    if (this.#isLate) setTimeout(() => this.#drawAll()); // behind what plotly does at the end of a drag
  }

  /** Draws the panels one after another, so that the page answers in between. */
  async start() {
    this.colours = coloursNow();
    for (const panel of this.#panels) {
      this.#draw(panel);
      await new Promise(requestAnimationFrame);
    }
    byId("panels").setAttribute("aria-busy", "false");
    new ResizeObserver(() => this.#showPicked()).observe(byId("panels"));
  }

  recolour() {
    this.colours = coloursNow();
    this.#drawAll();
  }

  #drawAll() {
    byId("smoothing-value").textContent = Number(byId("smoothing").value)
      .toFixed(2)
      .replace(/\.?0+$/, "");
    if (!window.Plotly || !this.colours) return;
    this.#isLate = this.#isHeld;
    if (this.#isHeld) return;
    for (const panel of this.#panels) this.#draw(panel);
  }

  #draw(panel) {
    const { graph } = panel;
    const traces = panel.definition.kind === "stack" ? this.#stack(panel) : this.#lines(panel.definition);
    panel.traces = traces;
    const isFirst = !graph.on;
    Plotly.react(graph, traces, this.#layout(panel), { displayModeBar: false, doubleClick: false, responsive: true });
    graph.setAttribute("aria-label", this.#summaryOf(panel));
    if (isFirst) this.#listen(graph);
    this.#placePicked(panel);
  }

  #listen(graph) {
    graph.on("plotly_relayout", (change) => {
      // Dragging gives the two ends by themselves; what `zoom` sets comes as one range.
      if ("xaxis.range[0]" in change) this.zoom([change["xaxis.range[0]"], change["xaxis.range[1]"]]);
    });
    graph.on("plotly_doubleclick", () => this.zoom(null));
    graph.on("plotly_click", ({ points, event }) => {
      const height = event.clientY - graph.getBoundingClientRect().top - MARGIN.t;
      const away = (point) => Math.abs(point.yaxis.d2p(point.y) - height);
      const nearest = points.reduce((best, point) => (away(point) < away(best) ? point : best));
      this.onPick(nearest.data.meta.run, nearest.x);
    });
  }

  /** Shows the steps from first to last in every panel; null: all of them. */
  zoom(range) {
    this.#range = range && range[0] < range[1] ? range.map(Number) : null;
    this.#showZoom();
    for (const panel of this.#panels) {
      Plotly.relayout(panel.graph, { "xaxis.range": this.#steps(), "yaxis.range": this.#heights(panel) });
      this.#placePicked(panel);
    }
  }

  #zoomAsTyped() {
    const [first, last] = this.#ends();
    const typed = (id, otherwise) => (byId(id).value === "" ? otherwise : Number(byId(id).value));
    this.zoom([typed("zoom-from", first), typed("zoom-to", last)]);
  }

  #showZoom() {
    const [first, last] = this.#range ?? this.#ends();
    byId("zoom-from").value = Math.ceil(first);
    byId("zoom-to").value = Math.floor(last);
  }

  #ends() {
    const runs = this.data.runs.filter((run) => run.steps.length);
    return runs.length
      ? [Math.min(...runs.map((run) => run.steps[0])), Math.max(...runs.map((run) => run.steps.at(-1)))]
      : [0, 1];
  }

  #steps() {
    if (this.#range) return this.#range;
    const [first, last] = this.#ends();
    const edge = Math.max((last - first) * 0.015, 0.5);
    return [first - edge, last + edge];
  }

  /** The y range of what can be seen, in the axis's own numbers: a logarithmic axis has exponents. */
  #heights({ definition, traces }) {
    const isLog = this.#isLog(definition);
    if (definition.range && !isLog) {
      const [low, high] = definition.range;
      return [low - 0.03 * (high - low), high + 0.03 * (high - low)];
    }
    const [first, last] = this.#steps();
    const values = [];
    const sums = new Map();
    for (const { x, y, stackgroup } of traces) {
      x.forEach((step, i) => {
        if (step < first || step > last || (isLog && y[i] <= 0)) return;
        if (!stackgroup) values.push(y[i]);
        else sums.set(step, (sums.get(step) ?? 0) + y[i]);
      });
    }
    values.push(...sums.values(), ...(sums.size ? [0] : []));
    if (!values.length) return [0, 1];
    const scale = isLog ? Math.log10 : (value) => value;
    const low = scale(values.reduce((a, b) => Math.min(a, b)));
    const high = scale(values.reduce((a, b) => Math.max(a, b)));
    const edge = (high - low || Math.abs(high) || 1) * 0.06;
    return [sums.size ? 0 : low - edge, high + edge];
  }

  #isLog(definition) {
    return byId("logarithmic").checked && definition.kind !== "stack"; // areas have no logarithm
  }

  #layout({ definition, traces }) {
    const { text, quiet, line, surface } = this.colours;
    const axis = { gridcolor: line, linecolor: line, tickcolor: line, zeroline: false, automargin: false };
    return {
      margin: MARGIN,
      showlegend: false,
      dragmode: isTouched() ? false : "zoom", // a finger that drags scrolls the page
      hovermode: "x unified",
      hoverdistance: -1, // however far the nearest logged step is
      font: { color: quiet, size: 11, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: surface, bordercolor: line, font: { color: text, size: 12 } },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: {
        ...axis,
        range: this.#steps(),
        fixedrange: isTouched(),
        nticks: 6,
        hoverformat: "d",
        unifiedhovertitle: { text: "step %{x}" },
      },
      yaxis: {
        ...axis,
        type: this.#isLog(definition) ? "log" : "linear",
        range: this.#heights({ definition, traces }),
        fixedrange: true, // zooming is over steps; the heights follow
        nticks: 5,
        exponentformat: "power",
      },
      shapes: this.#alarmLines(),
    };
  }

  #alarmLines() {
    const dashes = { alarm: "solid", rollback: "dash", stop: "solid", cleared: "dot" };
    return this.#visibleRuns().flatMap(({ run, index }) =>
      run.alarms.map(({ step, kind }) => ({
        type: "line",
        x0: step,
        x1: step,
        y0: 0,
        y1: 1,
        yref: "paper",
        name: kind,
        line: {
          color: this.data.runs.length > 1 ? this.colours.series[index % NUM_COLOURS] : this.colours.raised,
          width: 1.5,
          dash: dashes[kind] ?? "solid",
        },
      })),
    );
  }

  #visibleRuns() {
    return this.data.runs.map((run, index) => ({ run, index })).filter(({ run }) => !this.#hidden.has(run.label));
  }

  #lines({ kind, lines }) {
    const areMany = this.data.runs.length > 1;
    const traces = [];
    for (const { run, index } of this.#visibleRuns()) {
      if (kind === "band") traces.push(...this.#band(run, index, lines));
      if (kind === "total") traces.push(...this.#line(totalsOf(run, lines), index, run.label, { run: index }));
      for (const [l, { metric, label }] of (kind === "lines"
        ? lines
        : kind === "band"
          ? lines.slice(0, 1)
          : []
      ).entries()) {
        traces.push(
          ...this.#line(pointsOf(run, metric), areMany ? index : l, areMany ? run.label : label, {
            run: index,
            metric,
          }),
        );
      }
    }
    return traces;
  }

  /** A curve, and faintly what it was before it was smoothed. */
  #line({ x, y }, look, name, meta) {
    if (!x.length) return [];
    const weight = Number(byId("smoothing").value);
    const color = this.colours.series[look % NUM_COLOURS];
    const shared = { type: "scatter", mode: x.length > 1 ? "lines" : "markers", x, meta };
    const raw = { ...shared, y, line: { color, width: 1 }, opacity: FAINT, hoverinfo: "skip" };
    const line = { color, width: 1.8, dash: dashOf(look) };
    const drawn = {
      ...shared,
      y: smoothed(y, weight),
      name: unmarked(name),
      line,
      marker: { color },
      hovertemplate: "%{y:.4~g}",
    };
    return weight > 0 ? [raw, drawn] : [drawn];
  }

  #band(run, index, [, lower, upper]) {
    const [low, high] = [pointsOf(run, lower.metric), pointsOf(run, upper.metric)];
    if (!low.x.length || low.x.length !== high.x.length) return [];
    const shared = { type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
    const colour = this.colours.series[index % NUM_COLOURS];
    return [
      { ...shared, ...low, meta: { run: index, metric: lower.metric } },
      {
        ...shared,
        ...high,
        meta: { run: index, metric: upper.metric },
        fill: "tonexty",
        fillcolor: colour.replace("rgb(", "rgba(").replace(")", ", 0.16)"),
      },
    ];
  }

  #stack({ definition, run: index }) {
    const run = this.data.runs[index];
    return definition.lines
      .map(({ metric, label }, l) => ({
        ...pointsOf(run, metric),
        metric,
        label,
        colour: this.colours.series[l % NUM_COLOURS],
      }))
      .filter(({ x }) => x.length)
      .map(({ x, y, metric, label, colour }) => ({
        type: "scatter",
        mode: "lines",
        x,
        y: smoothed(y, Number(byId("smoothing").value)),
        stackgroup: "phases",
        name: unmarked(label),
        meta: { run: index, metric },
        line: { color: colour, width: 1 },
        hovertemplate: "%{y:.3~g} s",
      }));
  }

  #summaryOf({ definition, traces }) {
    const ends = traces
      .filter(({ name, y }) => name && y.length)
      .map(({ name, y }) => `${name}: from ${number(y[0])} to ${number(y.at(-1))}`);
    return visible(`${definition.title}. ${ends.join("; ")}`);
  }

  /** Marks the step that the rollouts show; null: none. */
  pick(step) {
    this.#picked = step;
    this.#showPicked();
  }

  #showPicked() {
    for (const panel of this.#panels) this.#placePicked(panel);
  }

  // A line of our own over the graph: to redraw twenty graphs at each press of an arrow key takes too long.
  #placePicked({ graph, picked }) {
    const axis = graph._fullLayout?.xaxis;
    if (!axis || this.#picked === null) return void (picked.hidden = true);
    const at = axis.d2p(this.#picked);
    picked.hidden = at < 0 || at > axis._length;
    picked.style.left = `${axis._offset + at}px`;
  }
}

function measuredMark() {
  return element(
    "span",
    { class: "measured", title: "measured with the right answers, never seen by training" },
    "measured",
  );
}

function aboutOf({ title, lines }) {
  const sentences = lines
    .filter((line) => line.about)
    .map((line) => element("p", {}, element("code", {}, line.metric), " ", line.about));
  return element(
    "details",
    { class: "about" },
    element("summary", { "aria-label": `About ${title}` }, "?"),
    element("div", {}, sentences),
  );
}

function pointsOf(run, metric) {
  const values = run.metrics[metric] ?? [];
  const kept = run.steps
    .map((step, i) => [step, values[i]])
    .filter(([, value]) => value !== null && value !== undefined);
  return { x: kept.map(([step]) => step), y: kept.map(([, value]) => value) };
}

/** Sums of a run's lines, at the steps where the first one was logged. */
function totalsOf(run, lines) {
  const { x } = pointsOf(run, lines[0].metric);
  const parts = lines.map(({ metric }) => new Map(run.steps.map((step, i) => [step, run.metrics[metric]?.[i] ?? 0])));
  return { x, y: x.map((step) => parts.reduce((sum, part) => sum + part.get(step), 0)) };
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
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const colours = Object.fromEntries(
    ["text", "quiet", "line", "surface", "background", "raised"].map((name) => [name, colour(name)]),
  );
  colours.series = Array.from({ length: NUM_COLOURS }, (_, i) => colour(`series-${i}`));
  probe.remove();
  return colours;
}

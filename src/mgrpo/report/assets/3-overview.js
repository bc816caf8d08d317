"use strict";

// What is said in words: verdicts, alarms, recipes, environments.

const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const STROKES = { solid: "", dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "10 4", longdashdot: "10 3 2 3" };
const NUM_COLOURS = 7; // --series-0 ... in page.css; with six dashes no two of the first 42 runs look alike

function colourOf(index) {
  return `var(--series-${index % NUM_COLOURS})`;
}

function dashOf(index) {
  return DASHES[index % DASHES.length];
}

/** A piece of a run's line, as in the curves. */
function swatch(colour, dash) {
  const line = drawing("line", { x1: 0, x2: 28, y1: 5, y2: 5, "stroke-dasharray": STROKES[dash] });
  const drawn = drawing("svg", { class: "swatch", width: 28, height: 10, "aria-hidden": "true" }, line);
  drawn.style.color = colour;
  return drawn;
}

const Overview = {
  show(data) {
    byId("notes").replaceChildren(...data.notes.map((note) => element("li", {}, note)));
    byId("verdicts").replaceChildren(...data.runs.map((run, index) => verdictOf(run, index, data.runs.length > 1)));
    showRecipes(data);
    showEnvironments(data.runs);
  },
};

function verdictOf(run, index, isOneOfMany) {
  const heading = element("h3", {}, run.verdict);
  if (isOneOfMany) heading.prepend(swatch(colourOf(index), dashOf(index)), " ");
  const progress = run.max_steps ? `step ${run.step ?? 0} of ${run.max_steps}` : `step ${run.step ?? 0}`;
  const alarms = run.alarms.length ? "" : " No alarm was raised.";
  return element(
    "article",
    { class: "verdict" },
    heading,
    element("p", { class: "quiet" }, `${sentenceOf(run.state)}, ${progress}.${alarms}`),
    alarmsOf(run, isOneOfMany),
    run.notes.length
      ? element(
          "ul",
          { class: "notes" },
          run.notes.map((note) => element("li", {}, note)),
        )
      : null,
  );
}

function sentenceOf(words) {
  return words[0].toUpperCase() + words.slice(1);
}

function alarmsOf(run, isOneOfMany) {
  if (!run.alarms.length) return null;
  const events = run.alarms.map((event) => {
    const place = new URLSearchParams({ ...(isOneOfMany && { run: run.label }), step: event.step });
    return element(
      "li",
      {},
      element("a", { href: `#${place}` }, `step ${event.step}`),
      " ",
      element("strong", { class: `kind ${event.kind === "cleared" ? "cleared" : "raised"}` }, event.kind),
      " ",
      event.message,
      event.signals.length ? element("span", { class: "quiet" }, ` (${event.signals.join(", ")})`) : null,
    );
  });
  return element("ol", { class: "alarms", "aria-label": "Alarm history" }, events);
}

function showRecipes({ runs, differences }) {
  const parts = [];
  if (differences.length) {
    const rows = differences.map(({ field, values }) => [field, ...values.map(fieldText)]);
    parts.push(
      element("h3", {}, "Where the runs differ"),
      comparison(["field", ...runs.map((run) => run.label)], rows),
    );
  }
  for (const run of runs) {
    if (runs.length > 1) parts.push(element("h3", {}, run.label));
    if (!run.recipe) {
      parts.push(element("p", { class: "quiet" }, "The run has no config.yaml."));
      continue;
    }
    parts.push(element("pre", {}, run.recipe.set));
    if (run.recipe.defaults) {
      const rest = element("details", {}, element("summary", {}, "Fields left at their defaults"));
      rest.append(element("pre", {}, run.recipe.defaults));
      parts.push(rest);
    }
  }
  fillDetails("recipe", parts);
}

function showEnvironments(runs) {
  const flat = runs.map((run) => flattened(run.environment ?? {}));
  const fields = [...new Set(flat.flatMap((facts) => Object.keys(facts)))];
  const rows = fields.map((field) => [field, ...flat.map((facts) => facts[field] ?? "–")]);
  const nothing = element("p", { class: "quiet" }, "No environment.json was left.");
  fillDetails("environment", [rows.length ? comparison(["", ...runs.map((run) => run.label)], rows) : nothing]);
}

/** Keeps what a reader has opened or selected as it is while nothing changes. */
function fillDetails(id, parts) {
  const body = byId(id).querySelector("div");
  const fresh = element("div", {}, parts);
  if (fresh.textContent !== body.textContent) body.replaceChildren(...fresh.childNodes);
}

function comparison(head, rows) {
  const cells = (row) =>
    row.map((value, column) => (column === 0 ? element("th", { scope: "row" }, value) : element("td", {}, value)));
  return element(
    "div",
    { class: "wide", tabindex: 0, role: "region", "aria-label": "Table, scrolls sideways" },
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          head.map((title) => element("th", { scope: "col" }, title)),
        ),
      ),
      element(
        "tbody",
        {},
        rows.map((row) => element("tr", {}, cells(row))),
      ),
    ),
  );
}

function flattened(facts, prefix = "") {
  const flat = {};
  for (const [key, value] of Object.entries(facts)) {
    if (value && typeof value === "object" && !Array.isArray(value))
      Object.assign(flat, flattened(value, `${prefix}${key}.`));
    else flat[prefix + key] = Array.isArray(value) ? value.join(" ") : fieldText(value);
  }
  return flat;
}

function fieldText(value) {
  if (value === null || value === undefined) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

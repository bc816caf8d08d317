"use strict";

// What is said in words: verdicts, alarms, results of evaluations, recipes, environments.

const SERIES = Array.from({ length: 7 }, (_, i) => `series-${i}`); // as in page.css and report/panels.py
const STROKES = ["", "6 4", "2 3", "6 3 2 3", "10 4", "10 3 2 3"];

/** A piece of a run's or a metric's line, as in the curves. */
function swatchOf(index, isSolid = false) {
  const line = drawing("line", { x2: 28, y1: 5, y2: 5, "stroke-dasharray": isSolid ? "" : STROKES[index % 6] });
  const drawn = drawing("svg", { class: "swatch", width: 28, height: 10, "aria-hidden": "true" }, line);
  drawn.style.color = `var(--${SERIES[index % SERIES.length]})`;
  return drawn;
}

function showOverview({ notes, runs, results, differences }) {
  const areMany = runs.length > 1;
  byId("notes").replaceChildren(...itemsOf(notes));
  byId("verdicts").replaceChildren(...runs.map((run, index) => verdictOf(run, areMany && index)));
  replaceIfNew(byId("results"), results ? scrollable(results[0], results.slice(1)) : []);
  replaceIfNew(byId("recipe").querySelector("div"), recipesOf(runs, differences));
  replaceIfNew(byId("environment").querySelector("div"), environmentsOf(runs));
}

function itemsOf(sentences) {
  return sentences.map((sentence) => element("li", {}, sentence));
}

/** How a run went; `index` is false for a run that is alone. */
function verdictOf(run, index) {
  const alarms = run.alarms.map((event) => {
    const place = new URLSearchParams({ ...(index !== false && { run: run.label }), step: event.step });
    const kind = element("strong", { class: event.kind === "cleared" ? "right" : "wrong" }, event.kind);
    const signals = event.signals.length ? ` (${event.signals.join(", ")})` : "";
    const link = element("a", { href: `#${place}` }, `step ${event.step}`);
    return element("li", {}, link, " ", kind, " ", event.message, element("span", { class: "quiet" }, signals));
  });
  return element(
    "article",
    { class: "verdict" },
    element("h3", {}, index === false || run.state === "evaluated" ? null : [swatchOf(index), " "], run.verdict),
    element("p", { class: "quiet" }, progressOf(run)),
    alarms.length ? element("ol", { class: "alarms", "aria-label": "Alarm history" }, alarms) : null,
    run.notes.length ? element("ul", { class: "notes" }, itemsOf(run.notes)) : null,
  );
}

function progressOf({ state, step, max_steps, alarms }) {
  if (state === "evaluated") return `Sampled by mgrpo evaluate from the model at step ${step}.`;
  const steps = max_steps ? `step ${step ?? 0} of ${max_steps}` : `step ${step ?? 0}`;
  return `${capitalized(state)}, ${steps}.${alarms.length ? "" : " No alarm was raised."}`;
}

function capitalized(words) {
  return words[0].toUpperCase() + words.slice(1);
}

function recipesOf(runs, differences) {
  const parts = [];
  if (differences.length) {
    const rows = differences.map(({ field, values }) => [field, ...values.map(fieldText)]);
    parts.push(element("h3", {}, "Where the runs differ"));
    parts.push(scrollable(["field", ...runs.map((run) => run.label)], rows));
  }
  for (const { label, recipe } of runs) {
    if (runs.length > 1) parts.push(element("h3", {}, label));
    parts.push(
      recipe ? element("pre", {}, recipe.set) : element("p", { class: "quiet" }, "The run has no config.yaml."),
    );
    if (recipe?.defaults) {
      const summary = element("summary", {}, "Fields left at their defaults");
      parts.push(element("details", {}, summary, element("pre", {}, recipe.defaults)));
    }
  }
  return parts;
}

function environmentsOf(runs) {
  const flat = runs.map((run) => flattened(run.environment ?? {}));
  const fields = [...new Set(flat.flatMap((facts) => Object.keys(facts)))];
  if (!fields.length) return [element("p", { class: "quiet" }, "There is no environment.json.")];
  const rows = fields.map((field) => [field, ...flat.map((facts) => facts[field] ?? "–")]);
  return [scrollable(["", ...runs.map((run) => run.label)], rows)];
}

/** A table that scrolls sideways by itself; the first cell of each row is its heading. */
function scrollable(titles, rows) {
  const columns = titles.map((title, column) => ({ title, isHead: column === 0 }));
  const attributes = { class: "wide", tabindex: 0, role: "region", "aria-label": "Table, scrolls sideways" };
  return element("div", attributes, tableOf(columns, rows.map((cells) => ({ cells }))));
}

function flattened(facts, prefix = "") {
  const flat = {};
  for (const [key, value] of Object.entries(facts)) {
    const isGroup = value && typeof value === "object" && !Array.isArray(value);
    if (isGroup) Object.assign(flat, flattened(value, `${prefix}${key}.`));
    else flat[prefix + key] = Array.isArray(value) ? value.join(" ") : fieldText(value);
  }
  return flat;
}

function fieldText(value) {
  if (value === null || value === undefined) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

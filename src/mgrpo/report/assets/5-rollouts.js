"use strict";

// The rollout browser: which group is shown (all completions of one prompt at one step), and the way to the others.

const BREATH = 30; // ms that a search works before it lets the page answer
const LONG_BEGINNING = 20; // characters that all prompts must share at least, to be left out of the list of prompts

class Rollouts {
  #source;
  #onShow;
  #place = { run: 0, step: null, prompt: 0 };
  #shown = 0; // counts the groups asked for: a slow one that was overtaken is not shown
  #search = 0;
  #matches = null; // [{run, step, prompt}] in order, null while nothing is looked for

  /** @param onShow called with the place that is shown, and whether a reader went there. */
  constructor(source, onShow) {
    this.#source = source;
    this.#onShow = onShow;
    const listen = (id, event, act) => byId(id).addEventListener(event, act);
    listen("run", "change", () => this.go({ run: Number(byId("run").value) }));
    listen("step", "change", () => this.go({ step: Number(byId("step").value) }));
    listen("step-slider", "input", () => this.go({ step: this.#steps()[byId("step-slider").value] }));
    listen("step-before", "click", () => this.#moveStep(-1));
    listen("step-after", "click", () => this.#moveStep(1));
    listen("search", "input", () => this.#lookFor());
    listen("search", "keydown", (event) => event.key === "Enter" && this.#moveMatch(event.shiftKey ? -1 : 1));
    listen("match-before", "click", () => this.#moveMatch(-1));
    listen("match-after", "click", () => this.#moveMatch(1));
    for (const box of filterBoxes()) box.addEventListener("change", () => this.#lookFor());
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  get #runs() {
    return this.#source.data.runs;
  }

  #steps(run = this.#place.run) {
    return this.#runs[run].completions.steps;
  }

  /** Takes over data that has grown; what is shown stays. */
  async show() {
    const first = this.#runs.findIndex((run) => run.completions.steps.length);
    byId("browser").hidden = first < 0;
    byId("nothing-recorded").hidden = first >= 0;
    byId("nothing-recorded").textContent = this.#source.data.live
      ? "No completions yet. A run records them at its logging steps with log_completions: true."
      : "These runs recorded no completions. A run does with log_completions: true.";
    if (first < 0) return;
    this.#showRuns();
    if (this.#place.step === null) await this.go({ run: first, step: this.#steps(first).at(-1) }, false);
    else this.#showSteps();
    if (this.#matches) await this.#find();
  }

  /**
   * Shows a run's step and prompt; of a step that was not recorded, the nearest that was.
   * @param wanted {run, step, prompt}, what is left out stays as it is.
   */
  async go(wanted, isByReader = true) {
    const place = { ...this.#place, ...wanted };
    const { label, completions } = this.#runs[place.run];
    if (!completions.steps.length) {
      announce(`${label} recorded no completions.`);
      byId("run").value = this.#place.run;
      return;
    }
    const asked = place.step ?? completions.steps.at(-1);
    place.step = nearest(completions.steps, asked);
    const ticket = ++this.#shown;
    let groups;
    try {
      groups = await this.#source.groups(place.run, place.step);
    } catch (error) {
      announce(`Step ${place.step} could not be shown: ${error.message}`);
      return;
    }
    if (ticket !== this.#shown) return;
    if (!groups.some(({ index }) => index === place.prompt)) place.prompt = groups[0].index;
    this.#place = place;
    this.groups = groups;
    this.#showSteps();
    this.#showPrompts();
    this.#showGroup();
    this.#showMatches();
    announce(asked === place.step ? "" : `Step ${asked} has no completions; step ${place.step} is the nearest.`);
    this.#onShow({ ...place, label }, isByReader);
  }

  #moveStep(by) {
    const step = this.#steps()[this.#steps().indexOf(this.#place.step) + by];
    if (step !== undefined) this.go({ step });
  }

  #movePrompt(by) {
    const at = this.groups.findIndex(({ index }) => index === this.#place.prompt);
    const group = this.groups[at + by];
    if (group) this.go({ prompt: group.index });
  }

  // Left and right serve nothing else on this page; up and down scroll it unless the browser is what is looked at.
  #onKey(event) {
    const moves = {
      ArrowLeft: () => this.#moveStep(-1),
      ArrowRight: () => this.#moveStep(1),
      ArrowUp: () => this.#movePrompt(-1),
      ArrowDown: () => this.#movePrompt(1),
    };
    const isOurs = moves[event.key] && !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey);
    if (!isOurs || !this.groups || event.target.closest("input, select, textarea, .wide")) return;
    const isUpOrDown = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (isUpOrDown && !byId("rollouts").contains(document.activeElement) && !isInView(byId("browser"))) return;
    event.preventDefault();
    moves[event.key]();
  }

  #showRuns() {
    byId("run-choice").hidden = this.#runs.length < 2;
    if (byId("run").children.length === this.#runs.length) return;
    byId("run").replaceChildren(...this.#runs.map((run, index) => element("option", { value: index }, run.label)));
    byId("run").value = this.#place.run;
  }

  #showSteps() {
    const { run, step } = this.#place;
    const { steps, recorded, cut } = this.#runs[run].completions;
    const at = steps.indexOf(step);
    byId("run").value = run;
    if (document.activeElement !== byId("step")) byId("step").value = step;
    byId("step-slider").max = steps.length - 1;
    byId("step-slider").value = at;
    byId("step-slider").setAttribute("aria-valuetext", `step ${step}`);
    byId("step-before").disabled = at === 0;
    byId("step-after").disabled = at === steps.length - 1;
    const parts = [`${grouped(at + 1)} of ${count(steps.length, "step")}`];
    if (steps.length < recorded) parts.push(`${grouped(recorded)} were recorded`);
    if (cut) parts.push(`texts cut to ${grouped(cut)} characters`);
    byId("step-count").textContent = parts.join(", ");
  }

  #showPrompts() {
    const hadFocus = byId("prompts").contains(document.activeElement);
    const shared = sharedBeginning(this.groups.map(({ prompt }) => prompt));
    const options = this.groups.map((group) => {
      const isPicked = group.index === this.#place.prompt;
      const onclick = () => this.go({ prompt: group.index });
      return element(
        "div",
        { role: "option", class: "prompt", "aria-selected": String(isPicked), tabindex: isPicked ? 0 : -1, onclick },
        element("span", { class: "index" }, group.index),
        element("span", { class: "text" }, shownText(without(group.prompt, shared))),
        element("span", { class: "marks" }, marksOf(group)),
      );
    });
    byId("prompts").replaceChildren(...options);
    const picked = byId("prompts").querySelector("[aria-selected=true]");
    if (hadFocus) picked.focus({ preventScroll: true });
    scrollWithin(byId("prompts"), picked);
  }

  #showGroup() {
    const group = this.groups.find(({ index }) => index === this.#place.prompt);
    byId("group").replaceChildren(...viewOf(group, this.#place.step, this.#runs[this.#place.run], queryNow()));
  }

  #lookFor() {
    if (this.groups) this.#showGroup(); // what is searched for is marked in it
    this.#find();
  }

  /** Looks through the flags of all steps, and, with a search, through all texts. */
  async #find() {
    const ticket = ++this.#search;
    const query = queryNow();
    const flags = filterBoxes().reduce((sum, box) => sum | (box.checked ? Number(box.value) : 0), 0);
    const found = query || flags ? [] : null;
    let rested = performance.now();
    for (const [run, { completions }] of found ? this.#runs.entries() : []) {
      for (const [at, step] of completions.steps.entries()) {
        if (!completions.flags[at].some((flag) => (flag & flags) === flags)) continue;
        const prompts = await this.#matching(run, step, flags, query);
        found.push(...prompts.map((prompt) => ({ run, step, prompt })));
        if (performance.now() - rested > BREATH) {
          byId("match-count").textContent = `searching, ${grouped(found.length)} so far`;
          await new Promise((resume) => setTimeout(resume));
          rested = performance.now();
        }
        if (ticket !== this.#search) return;
      }
    }
    this.#matches = found;
    this.#showMatches();
  }

  async #matching(run, step, flags, query) {
    let groups;
    try {
      groups = await this.#source.groups(run, step);
    } catch {
      return []; // live: the table was taken away, or the server; the status line says so
    }
    const isMatch = (group) => (group.flags & flags) === flags && (!query || mentions(group, query));
    return groups.filter(isMatch).map((group) => group.index);
  }

  #showMatches() {
    const { run, step } = this.#place;
    const matches = this.#matches ?? [];
    const at = matches.findIndex((match) => compare(match, this.#place) === 0);
    const place = at < 0 ? count(matches.length, "prompt") : `${grouped(at + 1)} of ${grouped(matches.length)}`;
    byId("match-count").textContent = !this.#matches ? "" : matches.length ? place : "no match";
    for (const id of ["match-before", "match-after"]) byId(id).disabled = !matches.length;
    const ofRun = matches.filter((match) => match.run === run);
    const here = new Set(ofRun.filter((match) => match.step === step).map(({ prompt }) => prompt));
    this.groups.forEach(({ index }, i) => {
      byId("prompts").children[i].classList.toggle("matching", here.has(index));
      byId("prompts").children[i].classList.toggle("passed-over", this.#matches !== null && !here.has(index));
    });
    // Where in the run the matches are, above the slider.
    const steps = this.#steps();
    const ticks = [...new Set(ofRun.map((match) => match.step))].map((matched) => {
      const x = steps.length > 1 ? (100 * steps.indexOf(matched)) / (steps.length - 1) : 50;
      return drawing("line", { x1: `${x}%`, x2: `${x}%`, y2: "100%" });
    });
    byId("match-ticks").replaceChildren(...ticks);
  }

  #moveMatch(by) {
    const matches = this.#matches;
    if (!matches?.length) return;
    const isBehind = (match) => compare(match, this.#place) > 0;
    const isBefore = (match) => compare(match, this.#place) < 0;
    const next = by > 0 ? matches.find(isBehind) : matches.findLast(isBefore);
    this.go(next ?? matches.at(by > 0 ? 0 : -1)); // round the end
  }
}

/** How many characters all prompts begin with, as those of a template do; in whole words. */
function sharedBeginning(prompts) {
  const [first, ...others] = prompts.map((prompt) => prompt.head ?? prompt);
  const differs = (i) => others.some((text) => text[i] !== first[i]);
  let length = 0;
  while (length < first.length && !differs(length)) length += 1;
  const words = first.slice(0, length).search(/\S*$/);
  return others.length && length < first.length && words >= LONG_BEGINNING ? words : 0;
}

function without(prompt, length) {
  const rest = (text) => (length ? `… ${text.slice(length)}` : text);
  return prompt.head === undefined ? rest(prompt) : { ...prompt, head: rest(prompt.head) };
}

function filterBoxes() {
  return [...document.querySelectorAll(".filters input")];
}

function queryNow() {
  return byId("search").value.toLowerCase();
}

function mentions(group, query) {
  const answers = (group.answer ?? []).filter((answer) => answer !== null);
  return [group.prompt, ...group.text, ...answers].some((text) => searchable(text).includes(query));
}

/** Below 0 where a comes before b in the order of the search. */
function compare(a, b) {
  return a.run - b.run || a.step - b.step || a.prompt - b.prompt;
}

function nearest(steps, wanted) {
  return steps.reduce((best, step) => (Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best));
}

function isInView(box) {
  const { top, bottom } = box.getBoundingClientRect();
  return top < innerHeight / 2 && bottom > innerHeight / 2;
}

/** Scrolls a list, and not the page, to one of its entries. */
function scrollWithin(list, entry) {
  const [outer, inner] = [list.getBoundingClientRect(), entry.getBoundingClientRect()];
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top;
  if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom;
}

"use strict";

// The rollout browser: one group, that is all completions of one prompt at one step, and the way through all of them.

const TIE = 4;
const BREATH = 30; // ms that a search works before it lets the page answer
const LONG = { characters: 600, lines: 8 }; // a completion beyond it is collapsed
const STRIP = { lane: 30, dot: 4.5, stacked: 5 }; // the entropy strip, pixels
const CROWD = 5; // marks above each other in the strip; more are counted beside them
const KINDS = ["policy", "momentum", "dropped"]; // of a vote
const NOT_RECORDED = "not recorded";

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
    const hasAny = this.#runs.some((run) => run.completions.steps.length);
    byId("browser").hidden = !hasAny;
    byId("nothing-recorded").hidden = hasAny;
    byId("nothing-recorded").textContent = this.#source.data.live
      ? "No completions yet. A run records them at its logging steps with log_completions: true."
      : "These runs recorded no completions. A run does with log_completions: true.";
    if (!hasAny) return;
    this.#showRuns();
    if (this.#place.step === null) {
      const first = this.#runs.findIndex((run) => run.completions.steps.length);
      await this.go({ run: first, step: this.#steps(first).at(-1) }, false);
    } else {
      this.#showSteps();
    }
    if (this.#matches) await this.#find();
  }

  /**
   * Shows a run's step and prompt; of a step that was not recorded, the nearest that was.
   * @param wanted {run, step, prompt}, what is left out stays as it is.
   */
  async go(wanted, isByReader = true) {
    const place = { ...this.#place, ...wanted };
    const steps = this.#steps(place.run);
    if (!steps.length) {
      announce(`${this.#runs[place.run].label} recorded no completions.`);
      byId("run").value = this.#place.run;
      return;
    }
    const asked = place.step ?? steps.at(-1);
    place.step = nearest(steps, asked);
    const ticket = ++this.#shown;
    let groups;
    try {
      groups = await this.#source.groups(place.run, place.step);
    } catch (error) {
      announce(`Step ${place.step} could not be shown: ${error.message}`);
      return;
    }
    if (ticket !== this.#shown) return;
    const at = groups.findIndex((group) => group.index === place.prompt);
    place.prompt = at < 0 ? groups[0].index : place.prompt;
    this.#place = place;
    this.groups = groups;
    this.#showSteps();
    this.#showPrompts();
    this.#showGroup();
    this.#showMatches();
    announce(asked === place.step ? "" : `Step ${asked} has no completions; step ${place.step} is the nearest.`);
    this.#onShow({ ...place, label: this.#runs[place.run].label }, isByReader);
  }

  #moveStep(by) {
    const steps = this.#steps();
    const step = steps[steps.indexOf(this.#place.step) + by];
    if (step !== undefined) this.go({ step });
  }

  #movePrompt(by) {
    const indices = this.groups.map((group) => group.index);
    const prompt = indices[indices.indexOf(this.#place.prompt) + by];
    if (prompt !== undefined) this.go({ prompt });
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
    const parts = [`${(at + 1).toLocaleString("en")} of ${count(steps.length, "step")}`];
    if (steps.length < recorded) parts.push(`${recorded.toLocaleString("en")} were recorded`);
    if (cut) parts.push(`texts cut to ${cut.toLocaleString("en")} characters`);
    byId("step-count").textContent = parts.join(", ");
  }

  #showPrompts() {
    const hadFocus = byId("prompts").contains(document.activeElement);
    const options = this.groups.map((group) => {
      const isPicked = group.index === this.#place.prompt;
      return element(
        "div",
        {
          role: "option",
          class: "prompt",
          "data-prompt": group.index,
          "aria-selected": String(isPicked),
          tabindex: isPicked ? 0 : -1,
          onclick: () => this.go({ prompt: group.index }),
        },
        element("span", { class: "index" }, group.index),
        element("span", { class: "text" }, shownText(group.prompt)),
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
    const query = queryNow();
    byId("group").replaceChildren(
      element("h3", {}, `Step ${this.#place.step}, prompt ${group.index}`),
      element("div", { class: "text question" }, shownText(group.prompt, query)),
      factsOf(group),
      votesOf(group, this.#runs[this.#place.run].recipe),
      entropyStrip(group),
      completionsOf(group, query),
    );
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
    if (!query && !flags) {
      this.#matches = null;
      this.#showMatches();
      return;
    }
    const found = [];
    let rested = performance.now();
    for (const [run, { completions }] of this.#runs.entries()) {
      for (const [at, step] of completions.steps.entries()) {
        if (!completions.flags[at].some((flag) => (flag & flags) === flags)) continue;
        const prompts = await this.#matching(run, step, flags, query);
        found.push(...prompts.map((prompt) => ({ run, step, prompt })));
        if (performance.now() - rested > BREATH) {
          byId("match-count").textContent = `searching, ${found.length.toLocaleString("en")} so far`;
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
    return groups
      .filter((group) => (group.flags & flags) === flags && (!query || mentions(group, query)))
      .map((group) => group.index);
  }

  #showMatches() {
    const matches = this.#matches;
    const at = matches?.findIndex((match) => isSame(match, this.#place)) ?? -1;
    for (const id of ["match-before", "match-after"]) byId(id).disabled = !matches?.length;
    byId("match-count").textContent = !matches
      ? ""
      : !matches.length
        ? "no match"
        : at < 0
          ? count(matches.length, "prompt")
          : `${(at + 1).toLocaleString("en")} of ${matches.length.toLocaleString("en")}`;
    const here = new Set(
      matches
        ?.filter(({ run, step }) => run === this.#place.run && step === this.#place.step)
        .map(({ prompt }) => prompt),
    );
    for (const option of byId("prompts").children) {
      const isMatch = here.has(Number(option.dataset.prompt));
      option.classList.toggle("matching", isMatch);
      option.classList.toggle("passed-over", matches !== null && !isMatch);
    }
    this.#showTicks();
  }

  /** Where in the run the matches are, above the slider. */
  #showTicks() {
    const steps = this.#steps();
    const matched = new Set(this.#matches?.filter(({ run }) => run === this.#place.run).map(({ step }) => step));
    const ticks = [...matched].map((step) => {
      const x = steps.length > 1 ? (100 * steps.indexOf(step)) / (steps.length - 1) : 50;
      return drawing("line", { x1: `${x}%`, x2: `${x}%`, y1: 0, y2: "100%" });
    });
    byId("match-ticks").replaceChildren(...ticks);
  }

  #moveMatch(by) {
    const matches = this.#matches;
    if (!matches?.length) return;
    const at = matches.findIndex((match) => isSame(match, this.#place));
    // From a place that is no match: the next one behind it, or the one before it, in the order of the search.
    const next =
      at >= 0
        ? at + by
        : by > 0
          ? matches.findIndex((match) => isBefore(this.#place, match))
          : matches.findLastIndex((match) => isBefore(match, this.#place));
    const wrapped = at < 0 && next < 0 ? (by > 0 ? 0 : matches.length - 1) : (next + matches.length) % matches.length;
    this.go(matches[wrapped]);
  }
}

function filterBoxes() {
  return [...document.querySelectorAll(".filters input")];
}

function queryNow() {
  return byId("search").value.toLowerCase();
}

function mentions(group, query) {
  const texts = [group.prompt, ...group.text, ...(group.answer ?? []).filter((answer) => answer !== null)];
  return texts.some((text) => searchable(text).includes(query));
}

function isSame(a, b) {
  return a.run === b.run && a.step === b.step && a.prompt === b.prompt;
}

function isBefore(a, b) {
  return (a.run - b.run || a.step - b.step || a.prompt - b.prompt) < 0;
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

/** A prompt's line in the list: its label, and what is special about it. */
function marksOf(group) {
  const marks = [
    group.label === null ? element("em", {}, "no label") : element("span", { class: "label" }, group.label),
  ];
  if (group.label_is_right === false) marks.push(element("span", { class: "wrong", title: "wrong label" }, "✗"));
  if (group.label_is_right === true) marks.push(element("span", { class: "right", title: "right label" }, "✓"));
  if (group.flags & TIE) marks.push(element("em", {}, "tie"));
  return marks;
}

function verdictMark(isRight) {
  if (isRight === null || isRight === undefined) return null;
  return element("span", { class: isRight ? "right" : "wrong" }, isRight ? "✓ right" : "✗ wrong");
}

/** What a group's field says, told apart from what was never written down. */
function recorded(group, field, say) {
  if (!(field in group)) return element("span", { class: "quiet" }, NOT_RECORDED);
  return say(group[field]);
}

function factsOf(group) {
  const matching = group.is_match.filter(Boolean).length;
  const dropped = (group.kept ?? []).filter((kept) => !kept).length;
  const facts = [
    [
      "Pseudo-label",
      [group.label === null ? "none" : element("b", {}, group.label), " ", verdictMark(group.label_is_right)],
    ],
    [
      "Right answer",
      recorded(group, "right_answer", (answer) => (answer === null ? "not known" : element("b", {}, answer))),
    ],
    ["Agree with the label", `${matching} of ${group.is_match.length}`],
    ["Tie", recorded(group, "is_tie", (isTie) => (isTie === null ? "not voted" : isTie ? "yes" : "no"))],
    ["Dropped by the filter", `${dropped} of ${group.text.length}`],
  ];
  return element(
    "dl",
    { class: "facts" },
    facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

/** The answers by their number of completions, those of the policy and of the momentum model, dropped ones apart. */
function votesOf(group, recipe) {
  const answers = tally(group);
  const most = Math.max(...answers.map(({ policy, momentum, dropped }) => policy + momentum + dropped), 1);
  const dropsVotes = recipe?.fields.filter_scope !== "loss";
  const rows = answers.map(({ id, answer, isLabel, isRight, ...counts }) => {
    const segments = KINDS.map((kind) => {
      const segment = element("span", { class: `segment ${kind}` });
      segment.style.width = `${(100 * counts[kind]) / most}%`;
      return segment;
    });
    return element(
      "tr",
      { role: "row", class: isLabel ? "is-label" : null },
      element(
        "th",
        { scope: "row", role: "rowheader" },
        id < 0 ? element("em", {}, "no answer") : answer,
        " ",
        isLabel ? element("span", { class: "tag" }, "pseudo-label") : null,
        isRight ? element("span", { class: "right" }, " ✓ right") : null,
      ),
      element(
        "td",
        { role: "cell", class: "bar" },
        element("span", { class: "bars", "aria-hidden": "true" }, segments),
      ),
      KINDS.map((kind) => element("td", { role: "cell", class: "count" }, counts[kind] || "·")),
    );
  });
  const heads = [
    element("th", { scope: "col", role: "columnheader" }, "answer"),
    element("td", { role: "cell" }),
    ...KINDS.map((kind) =>
      element(
        "th",
        { scope: "col", role: "columnheader", class: "count" },
        element("span", { class: `segment ${kind}`, "aria-hidden": "true" }),
        ` ${kind}`,
      ),
    ),
  ];
  return element(
    "section",
    { class: "votes" },
    element("h4", {}, "Votes"),
    tableOf(heads, rows),
    dropsVotes ? null : element("p", { class: "quiet" }, "Dropped completions voted too (filter_scope: loss)."),
  );
}

function tally(group) {
  const byId = new Map();
  group.answer_id.forEach((id, i) => {
    const entry = byId.get(id) ?? {
      id,
      answer: group.answer[i],
      isLabel: false,
      isRight: false,
      policy: 0,
      momentum: 0,
      dropped: 0,
    };
    byId.set(id, entry);
    entry[group.kept && !group.kept[i] ? "dropped" : group.model[i]] += 1;
    entry.isLabel ||= id >= 0 && group.is_match[i];
    entry.isRight ||= group.is_right?.[i] === true;
  });
  const answers = [...byId.values()];
  const right = group.right_answer;
  // A right answer that nobody gave is worth a line of its own. Where some answer was judged right, it is that one.
  if (right !== null && right !== undefined && !answers.some(({ isRight }) => isRight)) {
    answers.push({
      id: answers.length,
      answer: right,
      isLabel: false,
      isRight: true,
      policy: 0,
      momentum: 0,
      dropped: 0,
    });
  }
  const votes = ({ policy, momentum }) => policy + momentum;
  return answers.sort((a, b) => (a.id < 0) - (b.id < 0) || votes(b) - votes(a) || b.dropped - a.dropped);
}

/** Each completion a mark over its entropy: circles the policy's, squares the momentum model's, hollow the dropped. */
function entropyStrip(group) {
  const section = element(
    "section",
    { class: "entropy" },
    element("h4", {}, "Entropy ", element("small", {}, "nats per token")),
  );
  const values = (group.entropy ?? []).filter((entropy) => entropy !== null);
  if (!values.length) {
    section.append(element("p", { class: "quiet" }, NOT_RECORDED));
    return section;
  }
  const fence = group.fence ?? null;
  const ends = fence === null ? values : [...values, fence];
  const low = ends.reduce((a, b) => Math.min(a, b));
  const high = ends.reduce((a, b) => Math.max(a, b));
  const edge = (high - low) * 0.05 || 0.05; // all equal: the marks stand in the middle
  const at = (entropy) => (100 * (entropy - low + edge)) / (high - low + 2 * edge);
  const lanes = ["policy", "momentum"].filter((model) => group.model.includes(model));
  const height = lanes.length * STRIP.lane + 18;
  const strip = drawing("svg", {
    class: "strip",
    height,
    role: "img",
    "aria-label": stripSummary(group, values, fence),
  });
  for (const tick of ticksBetween(low, high)) {
    strip.append(
      drawing("line", { class: "tick", x1: `${at(tick)}%`, x2: `${at(tick)}%`, y1: 0, y2: height - 16 }),
      drawing("text", { x: `${at(tick)}%`, y: height - 4, "text-anchor": "middle" }, number(tick)),
    );
  }
  if (fence !== null)
    strip.append(
      drawing("line", { class: "fence", x1: `${at(fence)}%`, x2: `${at(fence)}%`, y1: 0, y2: height - 16 }),
    );
  const crowds = new Map();
  group.entropy.forEach((entropy, i) => {
    if (entropy === null) return;
    const lane = lanes.indexOf(group.model[i]);
    const crowd = `${lane}/${Math.round(at(entropy))}`; // marks within 1% of the width evade each other
    const rank = crowds.get(crowd) ?? 0;
    crowds.set(crowd, rank + 1);
    const shift = Math.ceil((rank % CROWD) / 2) * STRIP.stacked * (rank % 2 ? 1 : -1);
    strip.append(stripMark(group, i, at(entropy), lane * STRIP.lane + STRIP.lane / 2 + shift));
  });
  for (const [crowd, size] of crowds) {
    if (size <= CROWD) continue;
    const [lane, x] = crowd.split("/").map(Number);
    const isAtTheEnd = x > 90;
    const place = {
      x: `${x}%`,
      dx: isAtTheEnd ? -9 : 9,
      y: lane * STRIP.lane + STRIP.lane / 2 + 4,
      "text-anchor": isAtTheEnd ? "end" : "start",
    };
    strip.append(drawing("text", place, `${size}`));
  }
  const key = [
    element("span", {}, element("span", { class: "dot policy", "aria-hidden": "true" }), " policy"),
    lanes.includes("momentum")
      ? element("span", {}, element("span", { class: "dot momentum", "aria-hidden": "true" }), " momentum model")
      : null,
    element("span", {}, element("span", { class: "dot policy hollow", "aria-hidden": "true" }), " hollow: dropped"),
    element(
      "span",
      {},
      "fence" in group
        ? fence === null
          ? "no filter"
          : [element("span", { class: "dot fence", "aria-hidden": "true" }), ` the filter's fence, ${number(fence)}`]
        : `fence ${NOT_RECORDED}`,
    ),
  ];
  section.append(strip, element("p", { class: "key" }, key));
  return section;
}

function stripMark(group, i, x, y) {
  const isKept = !group.kept || group.kept[i];
  const attributes = { class: `mark ${group.model[i]}${isKept ? "" : " hollow"}` };
  const label = drawing("title", {}, `completion ${i}: ${number(group.entropy[i])}${isKept ? "" : ", dropped"}`);
  if (group.model[i] === "policy")
    return drawing("circle", { ...attributes, cx: `${x}%`, cy: y, r: STRIP.dot }, label);
  const side = 2 * STRIP.dot - 1;
  return drawing(
    "rect",
    { ...attributes, x: `${x}%`, y: y - side / 2, width: side, height: side, transform: `translate(${-side / 2} 0)` },
    label,
  );
}

function stripSummary(group, values, fence) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const facts = [`Entropies from ${number(low)} to ${number(high)}`];
  if (fence !== null) facts.push(`fence at ${number(fence)}`);
  if (group.kept) facts.push(`${group.kept.filter((kept) => !kept).length} dropped`);
  return facts.join(", ");
}

/** Three to seven round numbers. */
function ticksBetween(low, high) {
  if (low === high) return [low];
  const widest = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(widest));
  const step = [5, 2, 1].map((factor) => factor * power).find((candidate) => candidate <= widest);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

const COLUMNS = [
  { title: "#", of: (_, i) => String(i), kind: "count" },
  { title: "model", of: (group, i) => group.model[i] },
  {
    title: "answer",
    of: (group, i) => (group.answer[i] === null ? element("em", {}, "none") : group.answer[i]),
    kind: "answer",
  },
  {
    title: "vote",
    needs: "is_match",
    of: (group, i) => (group.answer_id[i] < 0 ? "none" : group.is_match[i] ? "agrees" : "other"),
  },
  {
    title: "filter",
    needs: "kept",
    of: (group, i) => (group.kept[i] ? "kept" : element("span", { class: "tag" }, "dropped")),
  },
  { title: "right", needs: "is_right", of: (group, i) => verdictMark(group.is_right[i]) ?? "not known" },
  { title: "reward", needs: "reward", of: (group, i) => number(group.reward[i]), kind: "count" },
  { title: "advantage", needs: "advantage", of: (group, i) => number(group.advantage[i]), kind: "count" },
  { title: "entropy", needs: "entropy", of: (group, i) => number(group.entropy[i]), kind: "count" },
  { title: "tokens", needs: "num_tokens", of: (group, i) => number(group.num_tokens[i]), kind: "count" },
];

function completionsOf(group, query) {
  const missing = COLUMNS.filter(({ needs }) => needs && !(needs in group));
  const columns = COLUMNS.filter((column) => !missing.includes(column));
  const heads = [
    ...columns.map(({ title, kind }) => element("th", { scope: "col", role: "columnheader", class: kind }, title)),
    element("th", { scope: "col", role: "columnheader" }, "completion"),
  ];
  const rows = group.text.map((text, i) =>
    element(
      "tr",
      { role: "row", class: group.kept && !group.kept[i] ? "dropped" : null },
      columns.map(({ title, of, kind }) =>
        element("td", { role: "cell", class: kind, "data-title": title }, of(group, i)),
      ),
      element("td", { role: "cell", class: "completion" }, completionText(text, query)),
    ),
  );
  const names = missing.map(({ title }) => title).join(", ");
  return element(
    "section",
    { class: "completions" },
    element("h4", {}, "Completions"),
    missing.length ? element("p", { class: "quiet" }, `${sentenceOf(NOT_RECORDED)} by this run: ${names}.`) : null,
    tableOf(heads, rows),
  );
}

// On a narrow page the rows become blocks, which takes their meaning as a table from them; the roles give it back.
function tableOf(heads, rows) {
  return element(
    "table",
    { role: "table" },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, heads)),
    element("tbody", { role: "rowgroup" }, rows),
  );
}

function completionText(text, query) {
  const shown = element("div", { class: "text" }, shownText(text, query));
  const plain = searchable(text);
  const isLong = plain.length > LONG.characters || plain.split("\n").length > LONG.lines;
  // A completion in which something was found is not collapsed: the match could be in what is hidden.
  if (!isLong || (query && plain.includes(query))) return shown;
  shown.classList.add("collapsed");
  const button = element("button", { type: "button", class: "more", "aria-expanded": "false" }, "show all");
  button.addEventListener("click", () => {
    const isCollapsed = shown.classList.toggle("collapsed");
    button.textContent = isCollapsed ? "show all" : "show less";
    button.setAttribute("aria-expanded", String(!isCollapsed));
  });
  return [shown, button];
}

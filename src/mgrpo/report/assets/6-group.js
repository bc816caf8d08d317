"use strict";

// One group as the rollout browser shows it: the prompt, the votes, the entropies and the completions.

const TIE = 4; // a flag, as in report/completions.py
const LONG = { characters: 600, lines: 8 }; // a completion beyond it is collapsed
const STRIP = { lane: 30, dot: 4.5, stacked: 5 }; // the entropy strip, pixels
const CROWD = 5; // marks above each other in the strip; of more the number is shown next to them
const KINDS = ["policy", "momentum", "dropped"]; // of a vote
const NOT_RECORDED = "not recorded";

function viewOf(group, step, run, query) {
  const labelName = run.state === "evaluated" ? "most common answer" : "pseudo-label";
  return [
    element("h3", {}, `Step ${step}, prompt ${group.index}`),
    element("div", { class: "text question" }, shownText(group.prompt, query)),
    factsOf(group, labelName),
    votesOf(group, labelName, run.recipe),
    entropiesOf(group),
    completionsOf(group, query),
  ];
}

/** A prompt's line in the list: its label, and what is special about it. */
function marksOf(group) {
  const { label, label_is_right: isRight, flags } = group;
  return [
    label === null ? element("em", {}, "no label") : element("span", { class: "label" }, label),
    isRight === false ? element("span", { class: "wrong", title: "wrong label" }, "✗") : null,
    isRight === true ? element("span", { class: "right", title: "right label" }, "✓") : null,
    flags & TIE ? element("em", {}, "tie") : null,
  ];
}

function verdictMark(isRight) {
  if (isRight === null || isRight === undefined) return null;
  return element("span", { class: isRight ? "right" : "wrong" }, isRight ? "✓ right" : "✗ wrong");
}

function isKept(group, i) {
  return !group.kept || group.kept[i];
}

function factsOf(group, labelName) {
  // What a group's field says, told apart from what was never written down.
  const recorded = (field, say) =>
    field in group ? say(group[field]) : element("span", { class: "quiet" }, NOT_RECORDED);
  const label = group.label === null ? "none" : element("b", {}, group.label);
  const facts = {
    [capitalized(labelName)]: [label, " ", verdictMark(group.label_is_right)],
    "Right answer": recorded("right_answer", (answer) => (answer === null ? "not known" : element("b", {}, answer))),
    "Agree with the label": `${group.is_match.filter(Boolean).length} of ${group.is_match.length}`,
    Tie: recorded("is_tie", (isTie) => (isTie === null ? "not voted" : isTie ? "yes" : "no")),
    "Dropped by the filter": `${group.text.filter((_, i) => !isKept(group, i)).length} of ${group.text.length}`,
  };
  const entries = Object.entries(facts).map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value)),
  );
  return element("dl", { class: "facts" }, entries);
}

/** The answers by their number of completions, those of the policy and of the momentum model, dropped ones apart. */
function votesOf(group, labelName, recipe) {
  const answers = tally(group);
  const most = Math.max(...answers.map(({ policy, momentum, dropped }) => policy + momentum + dropped), 1);
  const rows = answers.map((answer) => {
    const segments = KINDS.map((kind) => {
      const segment = element("span", { class: `segment ${kind}` });
      segment.style.width = `${(100 * answer[kind]) / most}%`;
      return segment;
    });
    const name = [
      answer.id < 0 ? element("em", {}, "no answer") : answer.answer,
      answer.isLabel ? [" ", element("span", { class: "tag" }, labelName)] : [],
      answer.isRight ? [" ", verdictMark(true)] : [],
    ].flat();
    const bar = element("span", { class: "bars", "aria-hidden": "true" }, segments);
    const counts = KINDS.map((kind) => answer[kind] || "·");
    return { kind: answer.isLabel ? "is-label" : null, cells: [name, bar, ...counts] };
  });
  const counted = KINDS.map((kind) => ({
    title: kind,
    kind: "count",
    heading: [element("span", { class: `segment ${kind}`, "aria-hidden": "true" }), ` ${kind}`],
  }));
  const columns = [{ title: "answer", isHead: true }, { title: "", kind: "bar" }, ...counted];
  const note = "Dropped completions voted too (filter_scope: loss).";
  return element(
    "section",
    { class: "votes" },
    element("h4", {}, "Votes"),
    tableOf(columns, rows),
    recipe?.fields.filter_scope === "loss" ? element("p", { class: "quiet" }, note) : null,
  );
}

function tally(group) {
  const none = { isLabel: false, isRight: false, policy: 0, momentum: 0, dropped: 0 };
  const answers = new Map();
  group.answer_id.forEach((id, i) => {
    const entry = answers.get(id) ?? { ...none, id, answer: group.answer[i] };
    answers.set(id, entry);
    entry[isKept(group, i) ? group.model[i] : "dropped"] += 1;
    entry.isLabel ||= id >= 0 && group.is_match[i];
    entry.isRight ||= group.is_right?.[i] === true;
  });
  const found = [...answers.values()];
  // A right answer that nobody gave is worth a line of its own. Where some answer was judged right, it is that one.
  const right = group.right_answer ?? null;
  if (right !== null && !found.some(({ isRight }) => isRight))
    found.push({ ...none, id: found.length, answer: right, isRight: true });
  const votes = ({ policy, momentum }) => policy + momentum;
  return found.sort((a, b) => (a.id < 0) - (b.id < 0) || votes(b) - votes(a) || b.dropped - a.dropped);
}

function entropiesOf(group) {
  const values = (group.entropy ?? []).filter((entropy) => entropy !== null);
  const title = element("h4", {}, "Entropy ", element("small", {}, "nats per token"));
  if (!values.length)
    return element("section", { class: "entropy" }, title, element("p", { class: "quiet" }, NOT_RECORDED));
  const fence = group.fence ?? null;
  const keyOf = (kind, ...words) =>
    element("span", {}, element("span", { class: `dot ${kind}`, "aria-hidden": "true" }), " ", ...words);
  const noFence = element("span", {}, "fence" in group ? "no filter" : `fence ${NOT_RECORDED}`);
  const key = [
    keyOf("policy", "policy"),
    group.model.includes("momentum") ? keyOf("momentum", "momentum model") : null,
    keyOf("policy hollow", "hollow: dropped"),
    fence === null ? noFence : keyOf("fence", `the filter's fence, ${number(fence)}`),
  ];
  return element(
    "section",
    { class: "entropy" },
    title,
    entropyStrip(group, values, fence),
    element("p", { class: "key" }, key),
  );
}

/** Each completion a mark over its entropy: circles the policy's, squares the momentum model's, hollow the dropped. */
function entropyStrip(group, values, fence) {
  const ends = fence === null ? values : [...values, fence];
  const low = ends.reduce((a, b) => Math.min(a, b));
  const high = ends.reduce((a, b) => Math.max(a, b));
  const edge = (high - low) * 0.05 || 0.05; // all equal: the marks are in the middle
  const at = (entropy) => (100 * (entropy - low + edge)) / (high - low + 2 * edge);
  const lanes = ["policy", "momentum"].filter((model) => group.model.includes(model));
  const middleOf = (lane) => lane * STRIP.lane + STRIP.lane / 2;
  const bottom = lanes.length * STRIP.lane + 2;
  const dropped = values.length && group.kept ? `, ${group.kept.filter((kept) => !kept).length} dropped` : "";
  const summary = `Entropies from ${number(Math.min(...values))} to ${number(Math.max(...values))}${dropped}`;
  const strip = drawing("svg", { class: "strip", height: bottom + 16, role: "img", "aria-label": summary });
  const upright = (kind, value) =>
    drawing("line", { class: kind, x1: `${at(value)}%`, x2: `${at(value)}%`, y2: bottom });
  for (const tick of ticksBetween(low, high)) {
    const place = { x: `${at(tick)}%`, y: bottom + 12, "text-anchor": "middle" };
    strip.append(upright("tick", tick), drawing("text", place, number(tick)));
  }
  if (fence !== null) strip.append(upright("fence", fence));
  const crowds = new Map(); // marks within 1% of the width evade each other
  group.entropy.forEach((entropy, i) => {
    if (entropy === null) return;
    const lane = lanes.indexOf(group.model[i]);
    const key = `${lane}/${Math.round(at(entropy))}`;
    const { size: rank } = crowds.get(key) ?? { size: 0 };
    crowds.set(key, { size: rank + 1, lane, x: at(entropy) });
    const shift = Math.ceil((rank % CROWD) / 2) * STRIP.stacked * (rank % 2 ? 1 : -1);
    strip.append(markOf(group, i, at(entropy), middleOf(lane) + shift));
  });
  for (const { size, lane, x } of crowds.values()) {
    const [dx, anchor] = x > 90 ? [-9, "end"] : [9, "start"];
    if (size > CROWD)
      strip.append(drawing("text", { x: `${x}%`, dx, y: middleOf(lane) + 4, "text-anchor": anchor }, size));
  }
  return strip;
}

function markOf(group, i, x, y) {
  const label = `completion ${i}: ${number(group.entropy[i])}${isKept(group, i) ? "" : ", dropped"}`;
  const kind = `mark ${group.model[i]}${isKept(group, i) ? "" : " hollow"}`;
  const side = 2 * STRIP.dot - 1;
  const mark =
    group.model[i] === "policy"
      ? drawing("circle", { class: kind, cx: `${x}%`, cy: y, r: STRIP.dot })
      : drawing("rect", { class: kind, x: `${x}%`, y: y - side / 2, width: side, height: side });
  if (group.model[i] !== "policy") mark.setAttribute("transform", `translate(${-side / 2} 0)`);
  mark.append(drawing("title", {}, label));
  return mark;
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

const VOTE_TEXT = (group, i) => (group.answer_id[i] < 0 ? "none" : group.is_match[i] ? "agrees" : "other");
const COLUMNS = [
  { title: "#", of: (_, i) => String(i), kind: "count" },
  { title: "model", of: (group, i) => group.model[i] },
  { title: "answer", of: (group, i) => group.answer[i] ?? element("em", {}, "none"), kind: "answer" },
  { title: "vote", needs: "is_match", of: VOTE_TEXT },
  {
    title: "filter",
    needs: "kept",
    of: (group, i) => (group.kept[i] ? "kept" : element("span", { class: "tag" }, "dropped")),
  },
  { title: "right", needs: "is_right", of: (group, i) => verdictMark(group.is_right[i]) ?? "not known" },
  ...["reward", "advantage", "entropy"].map(numberColumn),
  { ...numberColumn("num_tokens"), title: "tokens" },
];

function numberColumn(field) {
  return { title: field, needs: field, of: (group, i) => number(group[field][i]), kind: "count" };
}

function completionsOf(group, query) {
  const missing = COLUMNS.filter(({ needs }) => needs && !(needs in group));
  const columns = COLUMNS.filter((column) => !missing.includes(column));
  const rows = group.text.map((text, i) => ({
    kind: isKept(group, i) ? null : "dropped",
    cells: [...columns.map(({ of }) => of(group, i)), completionText(text, query)],
  }));
  const names = missing.map(({ title }) => title).join(", ");
  return element(
    "section",
    { class: "completions" },
    element("h4", {}, "Completions"),
    names ? element("p", { class: "quiet" }, `${capitalized(NOT_RECORDED)} by this run: ${names}.`) : null,
    tableOf([...columns, { title: "completion", kind: "completion" }], rows),
  );
}

function completionText(text, query) {
  const shown = element("div", { class: "text" }, shownText(text, query));
  const plain = searchable(text);
  const isLong = plain.length > LONG.characters || plain.split("\n").length > LONG.lines;
  // A completion in which something was found is not collapsed: the match could be in what is hidden.
  if (!isLong || (query && plain.includes(query))) return shown;
  const button = element("button", { type: "button", class: "more" });
  const toggle = () => {
    const isCollapsed = shown.classList.toggle("collapsed");
    button.textContent = isCollapsed ? "show all" : "show less";
    button.setAttribute("aria-expanded", String(!isCollapsed));
  };
  button.addEventListener("click", toggle);
  toggle();
  return [shown, button];
}

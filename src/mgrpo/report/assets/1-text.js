"use strict";

// Every text on this page may come from a model. It becomes text nodes, never markup, and characters that would hide,
// reorder or blank out what is around them are drawn instead of obeyed.

const NONCE = document.currentScript.nonce;

// Controls, formats and halves of surrogate pairs; not newline and tab, nor the joiners that scripts and emoji need.
const UNSEEN = /(?![\t\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;

function numberOf(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function picture(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code); // Unicode has a picture of each: ESC is ␛
  if (code === 0x7f) return "␡";
  return `⟨${numberOf(character)}⟩`;
}

function visible(text) {
  return String(text).replace(UNSEEN, picture);
}

function byId(id) {
  return document.getElementById(id);
}

/** An element with attributes (`on...` are listeners, null and false are left out) and children. */
function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : visible(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child instanceof Node ? child : visible(child));
  }
  return made;
}

/** Keeps what a reader has opened or selected as it is while nothing changes. */
function replaceIfNew(parent, children) {
  const fresh = element("div", {}, children);
  if (fresh.textContent !== parent.textContent) parent.replaceChildren(...fresh.childNodes);
}

/**
 * A table. On a narrow page rows become blocks, which takes their meaning as a table from them; roles give it back.
 * @param columns each {title}, and as needed {heading} (nodes), {kind} (a class) and {isHead} (names its row).
 * @param rows each {cells}, and as needed {kind}.
 */
function tableOf(columns, rows) {
  const heads = columns.map(({ title, heading, kind }) =>
    element("th", { scope: "col", role: "columnheader", class: kind ?? null }, heading ?? title),
  );
  const cellOf = ({ title, kind, isHead }, content) =>
    isHead
      ? element("th", { scope: "row", role: "rowheader" }, content)
      : element("td", { role: "cell", class: kind ?? null, "data-title": title }, content);
  const lines = rows.map(({ cells, kind }) => {
    return element("tr", { role: "row", class: kind ?? null }, cells.map((content, c) => cellOf(columns[c], content)));
  });
  return element(
    "table",
    { role: "table" },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, heads)),
    element("tbody", { role: "rowgroup" }, lines),
  );
}

/** A text with its hidden characters set apart, and what was searched for marked. */
function shownText(text, query) {
  const fragment = document.createDocumentFragment();
  if (typeof text === "string") {
    appendMarked(fragment, text, query);
  } else {
    appendMarked(fragment, text.head, query);
    fragment.append(element("em", { class: "quiet" }, ` … ${count(text.left_out, "character")} left out … `));
    appendMarked(fragment, text.tail, query);
  }
  return fragment;
}

function appendMarked(parent, text, query) {
  // Case is folded as the search does it; a text whose length changes by that (İ) is shown without marks.
  const folded = text.toLowerCase();
  let from = 0;
  for (let at; query && folded.length === text.length && (at = folded.indexOf(query, from)) >= 0; ) {
    appendSeen(parent, text.slice(from, at));
    from = at + query.length;
    const mark = element("mark");
    appendSeen(mark, text.slice(at, from));
    parent.append(mark);
  }
  appendSeen(parent, text.slice(from));
}

function appendSeen(parent, text) {
  let from = 0;
  for (const { 0: hidden, index } of text.matchAll(UNSEEN)) {
    parent.append(text.slice(from, index));
    parent.append(element("span", { class: "control", title: numberOf(hidden) }, picture(hidden)));
    from = index + hidden.length;
  }
  parent.append(text.slice(from));
}

/** A text as the search sees it: a long one that was cut has its two ends. */
function searchable(text) {
  return (typeof text === "string" ? text : `${text.head}\n${text.tail}`).toLowerCase();
}

function grouped(number) {
  return number.toLocaleString("en");
}

function count(number, noun) {
  return `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Three digits, the sign as typeset. */
function number(value) {
  if (value === null || value === undefined) return "–";
  const magnitude = Math.abs(value);
  const isPlain = magnitude === 0 || (magnitude >= 1e-3 && magnitude < 1e5);
  const text = isPlain ? String(Number(magnitude.toPrecision(3))) : magnitude.toExponential(2);
  return (value < 0 ? "−" : "") + text;
}

function announce(sentence) {
  byId("announcement").textContent = visible(sentence);
}

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

/** An element with attributes (`on...` are listeners, null and false are left out) and children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : visible(value));
  }
  append(made, children);
  return made;
}

function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, visible(value));
  append(made, children);
  return made;
}

function append(parent, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    parent.append(child instanceof Node ? child : visible(child));
  }
}

/** A text with its hidden characters set apart, and what was searched for marked. */
function shownText(text, query) {
  const fragment = document.createDocumentFragment();
  const parts = typeof text === "string" ? [text] : [text.head, null, text.tail];
  for (const part of parts) {
    if (part === null)
      fragment.append(element("em", { class: "left-out" }, ` … ${count(text.left_out, "character")} left out … `));
    else appendMarked(fragment, part, query);
  }
  return fragment;
}

function appendMarked(parent, text, query) {
  if (!query) return appendSeen(parent, text);
  // Case is folded as the search does it; a text whose length changes by that (İ) is shown without marks.
  const folded = text.toLowerCase();
  if (folded.length !== text.length) return appendSeen(parent, text);
  let from = 0;
  for (let at = folded.indexOf(query); at >= 0; at = folded.indexOf(query, from)) {
    appendSeen(parent, text.slice(from, at));
    const mark = element("mark");
    from = at + query.length;
    appendSeen(mark, text.slice(at, from));
    parent.append(mark);
  }
  appendSeen(parent, text.slice(from));
}

function appendSeen(parent, text) {
  let from = 0;
  for (const hidden of text.matchAll(UNSEEN)) {
    parent.append(
      text.slice(from, hidden.index),
      element("span", { class: "control", title: numberOf(hidden[0]) }, picture(hidden[0])),
    );
    from = hidden.index + hidden[0].length;
  }
  parent.append(text.slice(from));
}

/** A text as the search sees it: a long one that was cut has its two ends. */
function searchable(text) {
  return (typeof text === "string" ? text : `${text.head}\n${text.tail}`).toLowerCase();
}

function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** Three digits, the sign as typeset. */
function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const magnitude = Math.abs(value);
  const text =
    magnitude !== 0 && (magnitude < 1e-3 || magnitude >= 1e5)
      ? magnitude.toExponential(digits - 1)
      : String(Number(magnitude.toPrecision(digits)));
  return (value < 0 ? "−" : "") + text;
}

function byId(id) {
  return document.getElementById(id);
}

function announce(sentence) {
  byId("announcement").textContent = visible(sentence);
}

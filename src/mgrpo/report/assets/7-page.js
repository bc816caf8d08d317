"use strict";

// Puts the parts together: opening, the address's fragment, light and dark, and the live page's polling.

const POLL = 2000; // ms
const ADDRESS_DELAY = 200; // ms

let writing; // the timer of the address that is to be written

async function start() {
  if (!window.DecompressionStream) throw new Error("this page needs a browser of 2023 or later");
  const source = new Source();
  await source.open();
  const curves = new Curves((run, step) => {
    rollouts.go({ run, step });
    byId("rollouts").scrollIntoView({ behavior: isCalm() ? "auto" : "smooth" });
  });
  const rollouts = new Rollouts(source, ({ label, step, prompt }, isByReader) => {
    curves.pick(step);
    if (isByReader) writeAddress({ ...(source.data.runs.length > 1 && { run: label }), step, prompt });
  });
  const show = () => {
    showOverview(source.data);
    curves.show(source.data);
    return rollouts.show();
  };

  byId("kind").textContent = source.data.live ? "watch" : source.data.results ? "evaluation" : "report";
  listenForScheme(curves);
  byId("main").hidden = false;
  const opened = show();
  showState(source.data);
  const follow = () => followAddress(rollouts, source.data.runs);
  window.addEventListener("hashchange", follow);
  await opened;
  await follow();
  await loadPlotly();
  await curves.start();
  if (source.data.live) keepUpdating(source, show);
}

/** Goes where the address says, as #step=120&prompt=7; with several runs also run=LABEL. */
async function followAddress(rollouts, runs) {
  clearTimeout(writing); // what was typed since wins
  const wanted = new URLSearchParams(location.hash.slice(1));
  const step = wanted.get("step");
  if (!/^\d+$/.test(step ?? "")) return;
  const named = wanted.get("run");
  const run = named === null ? 0 : runs.findIndex(({ label }) => label === named);
  if (run < 0) return announce(`There is no run ${named} here.`);
  const prompt = /^\d+$/.test(wanted.get("prompt") ?? "") ? Number(wanted.get("prompt")) : 0;
  await rollouts.go({ run, step: Number(step), prompt }, false);
  byId("rollouts").scrollIntoView();
}

// replaceState fires no hashchange, and forty steps looked at are not forty steps back. Browsers refuse it from 100 to
// 200 times in 30 s on, which an arrow key held down reaches.
function writeAddress(place) {
  clearTimeout(writing);
  writing = setTimeout(() => history.replaceState(null, "", `#${new URLSearchParams(place)}`), ADDRESS_DELAY);
}

function isCalm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Light or dark, as the system or the button says; on paper always light. The button names what it changes to. */
function listenForScheme(curves) {
  const button = byId("scheme");
  const systems = matchMedia("(prefers-color-scheme: dark)");
  const paper = matchMedia("print");
  let isDark = systems.matches;
  const show = () => {
    document.documentElement.style.colorScheme = isDark && !paper.matches ? "dark" : "light";
    button.textContent = isDark ? "Light" : "Dark";
    curves.recolour();
  };
  const set = (value) => {
    isDark = value;
    show();
  };
  button.addEventListener("click", () => set(!isDark));
  systems.addEventListener("change", () => set(systems.matches));
  paper.addEventListener("change", () => {
    show();
    curves.resize();
  });
  show();
}

/** The line at the top: how far the runs are, or that the server of a live page does not answer. */
function showState(data, isLost = false) {
  const texts = data.live ? liveTexts(data, isLost) : [...new Set(data.runs.map(({ state }) => state))];
  if (byId("state").textContent !== texts.join(", ")) byId("state").textContent = texts.join(", ");
}

function liveTexts({ runs }, isLost) {
  if (isLost) return ["connection lost, trying again"];
  const running = runs.filter(({ state }) => state === "starting" || state === "unfinished");
  if (!running.length) return ["finished"];
  if (running.every(({ state }) => state === "starting")) return ["starting, no step logged yet"];
  const { step, max_steps, updated } = running.reduce((a, b) => ((a.updated ?? 0) > (b.updated ?? 0) ? a : b));
  const age = updated === null ? [] : [`updated ${ageText(Date.now() / 1000 - updated)} ago`];
  return ["running", max_steps ? `step ${step} of ${max_steps}` : `step ${step}`, ...age];
}

function ageText(seconds) {
  if (seconds < 100) return `${Math.max(Math.round(seconds), 0)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function keepUpdating(source, show) {
  let isLost = false;
  const update = async () => {
    const before = source.data.runs;
    try {
      const isNews = await source.update();
      if (isLost) announce("Connected again.");
      isLost = false;
      source.data.runs.forEach(({ label, state, alarms }, index) => {
        if (state !== before[index].state) announce(`${label}: ${state}.`);
        if (alarms.length > before[index].alarms.length) announce(`${label}: ${alarms.at(-1).message}`);
      });
      if (isNews) await show();
    } catch {
      if (!isLost) announce("Connection lost, trying again.");
      isLost = true;
    }
    showState(source.data, isLost);
    setTimeout(update, POLL);
  };
  setTimeout(update, POLL);
}

start().catch((error) => {
  byId("problem").hidden = false;
  byId("problem").textContent = visible(`The page could not be drawn: ${error.message}.`);
  console.error(error);
});

"use strict";

// Where the numbers and texts come from: gzipped blocks in this file, or the server of `mgrpo watch`.

async function unpack(id) {
  const binary = atob(byId(id).textContent);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** Runs the embedded plotly under the page's own nonce. */
async function loadPlotly() {
  const script = document.createElement("script");
  script.nonce = NONCE;
  script.textContent = await unpack("plotly");
  document.head.append(script);
  if (!window.Plotly) throw new Error("plotly did not start");
}

class Source {
  #steps = new Map(); // of completions, by run and step
  #chunks = new Map(); // by run and chunk
  #lastNews = null;

  async open() {
    this.data = JSON.parse(await unpack("data"));
  }

  /** One step's groups. A step that could not be had is asked for again the next time. */
  async groups(run, step) {
    const key = `${run}/${step}`;
    if (!this.#steps.has(key)) {
      if (this.data.live) this.#steps.set(key, await this.#fetchStep(run, step));
      else await this.#unpackChunkOf(run, step);
    }
    return this.#steps.get(key);
  }

  async #fetchStep(run, step) {
    const answer = await fetch(`/completions/${run}/${step}.json`);
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content.groups;
  }

  async #unpackChunkOf(run, step) {
    const chunk = this.data.runs[run].completions.chunks.findIndex((steps) => steps.includes(step));
    const key = `${run}-${chunk}`;
    if (!this.#chunks.has(key)) {
      const unpacking = unpack(`completions-${key}`).then((text) => {
        for (const { step, groups } of JSON.parse(text)) this.#steps.set(`${run}/${step}`, groups);
      });
      this.#chunks.set(key, unpacking);
    }
    await this.#chunks.get(key);
  }

  /** Takes over what is new at the server; returns whether anything is. */
  async update() {
    const have = this.data.runs.map((run) => run.token).join(",");
    const answer = await fetch(`/data.json?have=${encodeURIComponent(have)}`);
    const text = await answer.text();
    if (text === this.#lastNews) return false;
    const news = JSON.parse(text);
    if (!answer.ok) throw new Error(news.error);
    this.#lastNews = text;
    news.runs.forEach((run, index) => {
      const known = this.data.runs[index];
      run.steps = known.steps.slice(0, run.from).concat(run.steps);
      for (const [name, values] of Object.entries(run.metrics)) {
        const before = known.metrics[name] ?? Array(run.from).fill(null);
        run.metrics[name] = before.slice(0, run.from).concat(values);
      }
    });
    this.data = news;
    return true;
  }
}

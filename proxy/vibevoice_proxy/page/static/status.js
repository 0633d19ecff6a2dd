/** The Status view: health of each part, models, and plots of recent load. */

import { ApiError, received } from "./api.js";
import { button, el } from "./dom.js";
import { between, parseMetrics, reading } from "./metrics.js";
import { plot } from "./plot.js";

const EVERY = 3000;
/** Time range of the plots in milliseconds. */
const SHOWN = 10 * 60_000;

/** Display names of the parts in `/health`. */
const PARTS = /** @type {Record<string, string>} */ ({
  proxy: "This server",
  asr: "VibeVoice engine",
  light: "Light recognizer",
});

export class StatusView {
  title = "Status";
  /** @type {import("./metrics.js").Reading | null} */
  #last = null;
  /** @type {import("./metrics.js").Point[]} */
  #points = [];
  #timer = 0;
  #isShown = false;
  #parts = el("ul", { class: "parts" });
  #models = el("p", { class: "models" });
  #plots = el("div", { class: "plots" });
  #error = el("span", { role: "status" });
  #note = el(
    "div",
    { class: "note actions", hidden: true },
    this.#error,
    button("Try again", () => this.#showMetrics(), { class: "quiet" }),
  );
  #version = el("p", { class: "soft" });

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.element = el(
      "div",
      { class: "status stack" },
      el("section", { class: "panel stack" }, el("h2", {}, "Parts"), this.#parts),
      el("section", { class: "panel stack" }, el("h2", {}, "Last ten minutes"), this.#note, this.#plots),
      el("section", { class: "panel stack" }, el("h2", {}, "Models"), this.#models),
      el(
        "p",
        { class: "links" },
        el("a", { href: "docs" }, "API documentation"),
        el("a", { href: "metrics" }, "Metrics"),
        el("a", { href: "health" }, "Health"),
        el("a", { href: "openapi.json" }, "OpenAPI"),
      ),
      this.#version,
    );
  }

  async show() {
    this.#isShown = true;
    const [models, about] = await Promise.all([
      this.api.json("v1/models"),
      this.api.json("", { headers: { accept: "application/json" } }),
    ]);
    this.#models.replaceChildren(...models.data.map((/** @type {{ id: string }} */ model) => el("code", {}, model.id)));
    this.#version.textContent = `${about.name} ${about.version}`;
    await Promise.all([this.#showHealth(), this.#showMetrics()]);
    window.clearInterval(this.#timer);
    if (!this.#isShown) return; // the user has switched to another view
    this.#timer = window.setInterval(() => this.#refresh(), EVERY);
  }

  hide() {
    this.#isShown = false;
    window.clearInterval(this.#timer);
  }

  /** Whoever has declined to enter a key is not asked again every few seconds. */
  #refresh() {
    void this.#showHealth();
    void this.#showMetrics(false);
  }

  async #showHealth() {
    try {
      const response = await fetch(new URL("health", this.api.base)); // a 503 response has the same body
      const { parts } = await response.json();
      this.#parts.replaceChildren(
        ...Object.entries(parts).map(([name, state]) => part(PARTS[name] ?? name, String(state))),
      );
    } catch {
      this.#parts.replaceChildren(part("This server", "The server cannot be reached."));
    }
  }

  async #showMetrics(mayAsk = true) {
    try {
      const text = await received((await this.api.request("metrics", {}, mayAsk)).text());
      const now = reading(parseMetrics(text), Date.now());
      if (this.#last) this.#points.push(between(this.#last, now));
      this.#last = now;
      this.#points = this.#points.filter(({ time }) => time > now.time - SHOWN);
      this.#draw(now);
      this.#fail("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#fail(error.message);
    }
  }

  /** @param {string} message empty if the metrics were read */
  #fail(message) {
    if (this.#error.textContent !== message) this.#error.textContent = message;
    this.#note.hidden = !message;
  }

  /** @param {import("./metrics.js").Reading} now */
  #draw(now) {
    const range = { from: now.time - SHOWN, to: now.time };
    const whole = (/** @type {number} */ value) => String(value);
    const of = (/** @type {"running" | "waiting" | "sessions" | "factor" | "errors"} */ key) =>
      this.#points.map((point) => ({ time: point.time, value: point[key] }));
    this.#plots.replaceChildren(
      plot("Running", of("running"), { ...range, written: whole }),
      plot("Waiting", of("waiting"), { ...range, written: whole }),
      plot("Live sessions", of("sessions"), { ...range, written: whole }),
      plot("Real-time factor", of("factor"), { ...range, written: (value) => value.toFixed(2), bars: true }),
      plot("Errors", of("errors"), { ...range, written: whole, bars: true, sum: true }),
    );
  }
}

/**
 * @param {string} name
 * @param {string} state
 */
function part(name, state) {
  const isOk = state === "ok";
  return el(
    "li",
    { class: isOk ? "ok" : "bad" },
    el("span", { class: "dot" }),
    el("strong", {}, name),
    isOk ? "ready" : state,
  );
}

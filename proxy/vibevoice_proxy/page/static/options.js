/** Options of a transcription: the form fields of the API with the server's defaults. */

import { el, field, icon } from "./dom.js";
import { KnownSpeakers } from "./known-speakers.js";

/** Name of the light recognizer. */
const LIGHT = "light";

export class Options {
  #model = el("select");
  #modelHint = el("span");
  #hotwords = el("input", { placeholder: "VibeVoice, Anna Weiß, …", autocomplete: "off" });
  #language = el("input", { placeholder: "automatic", autocomplete: "off", maxlength: 64 });
  #width = number(42, 1000);
  #count = number(2, 100);
  #seconds = number(7, 3600);
  #known = new KnownSpeakers();

  constructor() {
    this.element = el(
      "details",
      { class: "options" },
      el("summary", {}, icon("settings"), "Options"),
      el(
        "div",
        { class: "grid" },
        field("Model", this.#model, this.#modelHint),
        field("Language", this.#language, "A code such as en. Not every model uses it."),
        field("Words to expect", this.#hotwords, "Names and terms, separated by commas. Not every model uses them."),
      ),
      this.#known.element,
      el(
        "fieldset",
        { class: "grid" },
        el("legend", {}, "Subtitles"),
        field("Characters in a line", this.#width),
        field("Lines", this.#count),
        field("Seconds on screen", this.#seconds, "0 means no limit."),
      ),
    );
  }

  /**
   * Loads the models that transcribe: all models except those that speak. Enrolled speakers are loaded when the user
   * opens the options, because most servers have none. Returns whether any model transcribes.
   * @param {import("./api.js").Api} api
   */
  async load(api) {
    this.element.ontoggle = () => {
      if (this.element.open) void this.#known.load(api);
    };
    const [all, speech] = await Promise.all([api.json("v1/models"), api.json("v1/audio/models")]);
    const speaking = new Set(speech.data.map((/** @type {{ id: string }} */ model) => model.id));
    const names = all.data.map((/** @type {{ id: string }} */ model) => model.id);
    const chosen = this.#model.value;
    const listed = names.filter((/** @type {string} */ name) => !speaking.has(name));
    const models = listed.map((/** @type {string} */ name) => el("option", { value: name }, name));
    this.#model.replaceChildren(el("option", { value: "" }, "Default"), ...models);
    this.#model.value = listed.includes(chosen) ? chosen : "";
    this.#modelHint.textContent = hint(listed);
    return listed.length > 0;
  }

  /** @returns {import("./subtitles.js").Limits} */
  limits() {
    const [lineWidth, lineCount, seconds] = [this.#width, this.#count, this.#seconds].map(
      (input) => input.valueAsNumber || 0,
    );
    return { lineWidth: lineWidth ?? 0, lineCount: lineCount ?? 0, seconds: seconds ?? 0 };
  }

  /**
   * The form fields that have a value. Throws an Error with a message for the user if they are incomplete.
   * @returns {Promise<[string, string][]>}
   */
  async fields() {
    /** @type {[string, string][]} */
    const fields = [
      ["model", this.#model.value],
      ["language", this.#language.value.trim()],
      ["hotwords", this.#hotwords.value.trim()],
    ];
    return [...fields.filter(([, value]) => value), ...(await this.#known.fields())];
  }
}

/**
 * What the models are. Empty if the engine transcribes everything.
 * @param {string[]} names
 */
function hint(names) {
  if (!names.includes(LIGHT)) return "";
  return "By default, “light” and OpenAI’s model names only support English. Other names select the engine, if there is one.";
}

/**
 * @param {number} value
 * @param {number} max
 */
function number(value, max) {
  return el("input", { type: "number", value, min: 0, max, step: "any" });
}

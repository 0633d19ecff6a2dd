/** Options of a transcription: the form fields of the API with the server's defaults. */

import { button, el, field, icon } from "./dom.js";
import { dataUrl } from "./files.js";

/** Limit of the API. */
const MAX_KNOWN_SPEAKERS = 4;

export class Options {
  #model = el("select");
  #hotwords = el("input", { placeholder: "VibeVoice, Anna Weiß, …", autocomplete: "off" });
  #language = el("input", { placeholder: "automatic", autocomplete: "off", maxlength: 64 });
  #width = number(42, 1000);
  #count = number(2, 100);
  #seconds = number(7, 3600);
  #known = el("ul", { class: "known" });

  constructor() {
    const addKnown = button("Add a known speaker", () => this.#addKnown(), { icon: "plus", class: "quiet" });
    this.element = el(
      "details",
      { class: "options" },
      el("summary", {}, icon("settings"), "Options"),
      el(
        "div",
        { class: "grid" },
        field("Model", this.#model),
        field("Language", this.#language, "A code such as en. Not every model uses it."),
        field("Words to expect", this.#hotwords, "Names and terms, separated by commas. Not every model uses them."),
      ),
      el(
        "fieldset",
        {},
        el("legend", {}, "Known speakers"),
        el("p", {}, "Add a name and a few seconds of that person's voice to see the name in the transcript."),
        this.#known,
        addKnown,
      ),
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
   * Loads the models that transcribe: all models except those that speak.
   * @param {import("./api.js").Api} api
   */
  async load(api) {
    const [all, speech] = await Promise.all([api.json("v1/models"), api.json("v1/audio/models")]);
    const speaking = new Set(speech.data.map((/** @type {{ id: string }} */ model) => model.id));
    const names = all.data.map((/** @type {{ id: string }} */ model) => model.id);
    const chosen = this.#model.value;
    const listed = names.filter((/** @type {string} */ name) => !speaking.has(name));
    const models = listed.map((/** @type {string} */ name) => el("option", { value: name }, name));
    this.#model.replaceChildren(el("option", { value: "" }, "Default"), ...models);
    this.#model.value = listed.includes(chosen) ? chosen : "";
  }

  /** @returns {import("./subtitles.js").Limits} */
  limits() {
    const [lineWidth, lineCount, seconds] = [this.#width, this.#count, this.#seconds].map(
      (input) => input.valueAsNumber || 0,
    );
    return { lineWidth: lineWidth ?? 0, lineCount: lineCount ?? 0, seconds: seconds ?? 0 };
  }

  /**
   * The form fields that have a value.
   * @returns {Promise<[string, string][]>}
   */
  async fields() {
    /** @type {[string, string][]} */
    const fields = [
      ["model", this.#model.value],
      ["language", this.#language.value.trim()],
      ["hotwords", this.#hotwords.value.trim()],
    ];
    for (const row of this.#known.children) {
      const [name, file] = row.querySelectorAll("input");
      const recording = file?.files?.[0];
      if (!name?.value.trim() || !recording) continue;
      fields.push(["known_speaker_names[]", name.value.trim()]);
      fields.push(["known_speaker_references[]", await dataUrl(recording)]);
    }
    return fields.filter(([, value]) => value);
  }

  #addKnown() {
    if (this.#known.children.length >= MAX_KNOWN_SPEAKERS) return;
    const name = el("input", { placeholder: "Name", "aria-label": "Name of the known speaker" });
    const file = el("input", {
      type: "file",
      accept: "audio/*,video/*",
      "aria-label": "Recording of the known speaker",
    });
    const row = el("li", {}, name, file);
    row.append(button("Remove", () => row.remove(), { icon: "close", iconOnly: true, class: "quiet" }));
    this.#known.append(row);
    name.focus();
  }
}

/**
 * @param {number} value
 * @param {number} max
 */
function number(value, max) {
  return el("input", { type: "number", value, min: 0, max, step: "any" });
}

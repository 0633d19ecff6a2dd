/** Controls to choose a speech model and its voices. */

import { button, el, field } from "./dom.js";

/** @typedef {{ id: string, name: string, object: string, models: string[] }} Voice */
/** @typedef {{ root: string, voice_cloning: boolean, voice_uploads: boolean }} SpeechModel */

export class Voices {
  /** @type {SpeechModel[]} */
  #models = [];
  /** @type {Voice[]} */
  #voices = [];
  #names = /** @type {string[]} */ ([]);
  model = el("select", { onchange: () => this.#onModel() });
  voice = el("select", { onchange: () => this.#update() });
  #cast = el("fieldset", { class: "grid", hidden: true });
  #preview = button("Preview", () => this.onPreview(), { icon: "play", "aria-label": "Preview the voice" });
  #remove = button("Delete this voice", () => this.#delete(), { class: "quiet", hidden: true });

  /**
   * @param {import("./api.js").Api} api
   * @param {() => unknown} onPreview
   * @param {(models: SpeechModel[], chosen: string) => void} onModel called when models were loaded or another was chosen
   * @param {(message: string) => void} onError
   */
  constructor(api, onPreview, onModel, onError) {
    this.api = api;
    this.onPreview = onPreview;
    this.onModel = onModel;
    this.onError = onError;
    const voice = el("div", { class: "pair" }, field("Voice", this.voice), this.#preview);
    this.elements = [field("Model", this.model), el("div", {}, voice, this.#remove)];
    this.castElement = this.#cast;
  }

  /** Loads models and voices from the server. */
  async load() {
    const [models, voices] = await Promise.all([this.api.json("v1/audio/models"), this.api.json("v1/audio/voices")]);
    this.#voices = voices.data;
    const byName = new Map(models.data.map((/** @type {SpeechModel} */ model) => [model.root, model]));
    this.#models = [...byName.values()];
    choose(
      this.model,
      this.#models.map(({ root }) => ({ value: root, label: root })),
    );
    this.#onModel();
  }

  /**
   * Shows a voice menu for each speaker of a script.
   * @param {string[]} speakers
   */
  setSpeakers(speakers) {
    if (speakers.join("\n") === this.#names.join("\n")) return;
    this.#names = speakers;
    this.#update();
  }

  /** The chosen model and voices as fields of the API. */
  get fields() {
    const chosen = [...this.#cast.querySelectorAll("select")].map((select) => select.value);
    const speakers = Object.fromEntries(this.#names.map((name, index) => [name, chosen[index] ?? ""]));
    return {
      model: this.model.value,
      voice: this.voice.value,
      ...(this.#names.length > 0 ? { speakers } : {}),
    };
  }

  #onModel() {
    this.onModel(this.#models, this.model.value);
    this.#update();
  }

  #update() {
    const available = this.#voices.filter(({ models }) => models.includes(this.model.value));
    const options = available.map(({ name }) => ({ value: name, label: name.replace(`${this.model.value}-`, "") }));
    choose(this.voice, options, ownLanguage(options));
    this.#preview.disabled = options.length === 0;
    this.#remove.hidden = available.find(({ name }) => name === this.voice.value)?.object !== "audio.voice";
    const own = Math.max(
      0,
      options.findIndex(({ value }) => value === this.voice.value),
    );
    const before = [...this.#cast.querySelectorAll("select")];
    const fields = this.#names.map((name, index) => {
      const select = before[index] ?? el("select");
      choose(select, options, options[(own + index) % options.length]?.value);
      return field(name, select);
    });
    this.#cast.replaceChildren(el("legend", {}, "Voices of the script"), ...fields);
    this.#cast.hidden = fields.length === 0;
  }

  async #delete() {
    const voice = this.#voices.find(({ name }) => name === this.voice.value);
    if (!voice || !window.confirm(`Delete the stored voice ${voice.name} for everyone?`)) return;
    try {
      await this.api.request(`v1/audio/voices/${encodeURIComponent(voice.id)}`, { method: "DELETE" });
      await this.load();
    } catch (error) {
      this.onError(/** @type {Error} */ (error).message);
    }
  }
}

/**
 * A voice in the browser's language, if a name begins with its code.
 * @param {{ value: string, label: string }[]} options
 */
function ownLanguage(options) {
  const [language = ""] = navigator.language.toLowerCase().split("-");
  const wanted = [navigator.language.toLowerCase(), language].map((start) =>
    options.find(({ label }) => label.startsWith(`${start}-`)),
  );
  return wanted.find((option) => option !== undefined)?.value;
}

/**
 * Fills a menu and keeps the current choice if it is still available.
 * @param {HTMLSelectElement} select
 * @param {{ value: string, label: string }[]} options
 * @param {string} [first] default choice
 */
function choose(select, options, first) {
  const chosen = select.value;
  select.replaceChildren(...options.map(({ value, label }) => el("option", { value }, label)));
  const kept = options.some(({ value }) => value === chosen) ? chosen : first;
  if (kept !== undefined) select.value = kept;
}

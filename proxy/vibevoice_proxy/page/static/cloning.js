/** Voice cloning from a recording, with the speaker's consent (docs/guides/voice-cloning.md, Before you clone a voice). */

import { button, el, field, icon } from "./dom.js";
import { dataUrl } from "./files.js";
import { RecordButton } from "./record-button.js";

export class Cloning {
  /** @type {File | null} */
  #sample = null;
  /** Why the chosen model cannot clone voices; empty if it can. */
  #why = "";
  #file = el("input", { type: "file", accept: "audio/*,video/*" });
  #record = new RecordButton(
    (file) => this.#take(this.#isAllowed ? file : null),
    (message) => this.#say(message),
  );
  #consent = el("input", { type: "checkbox" });
  #disclosure = el("input", { type: "checkbox" });
  #name = el("input", { maxlength: 200, autocomplete: "off" });
  #reference = el("input", { maxlength: 200, autocomplete: "off", placeholder: "consent-2026-11-30.pdf" });
  #status = el("p", { role: "status" });
  #player = el("audio", { controls: true, hidden: true, "aria-label": "The sample" });
  #store = button("Store on the server", () => this.#keep());
  #forget = button("Remove", () => this.#discard(), { class: "quiet", hidden: true });
  #storing = el(
    "div",
    { class: "stack" },
    el(
      "div",
      { class: "grid" },
      field(
        "Name of the voice",
        this.#name,
        "Needed to store the voice. Everyone who uses this server can then use it.",
      ),
      field("Reference to the consent", this.#reference, "Stored with the voice."),
    ),
    el("div", { class: "actions" }, this.#store),
  );

  /**
   * @param {import("./api.js").Api} api
   * @param {() => unknown} onStored called when the list of voices has changed
   */
  constructor(api, onStored) {
    this.api = api;
    this.onStored = onStored;
    this.#file.addEventListener("change", () => this.#take(this.#file.files?.[0] ?? null));
    for (const box of [this.#consent, this.#disclosure]) {
      box.addEventListener("change", () => {
        this.#update();
      });
    }
    this.element = el(
      "details",
      { class: "options", hidden: true },
      el("summary", {}, icon("microphone"), "Clone a voice"),
      el(
        "div",
        { class: "stack" },
        el("p", {}, "Use 10 to 15 seconds of one person in a quiet room, without music."),
        el("label", { class: "check" }, this.#consent, "This person has given recorded consent."),
        el(
          "label",
          { class: "check" },
          this.#disclosure,
          "I will tell listeners that the speech is generated, and I will not use the voice to deceive or impersonate anyone.",
        ),
        el("div", { class: "actions" }, field("Recording", this.#file), this.#record.element, this.#forget),
        this.#player,
        this.#storing,
        this.#status,
      ),
    );
    this.#update();
  }

  /**
   * Shows only what the server supports: hides everything if no model can clone voices, disables it while another model
   * is chosen, and hides storing if it is turned off.
   * @param {import("./voices.js").SpeechModel[]} models
   * @param {string} chosen name of a model
   */
  setModels(models, chosen) {
    const able = models.filter((model) => model.voice_cloning);
    const names = able.map(({ root }) => root);
    this.#why = names.includes(chosen) ? "" : `${chosen} cannot clone voices. Choose ${names.join(" or ")}.`;
    this.#storing.hidden = !able.some((model) => model.voice_uploads);
    this.element.hidden = able.length === 0;
    this.#update();
  }

  /** The recording to clone as a data URL; null if there is none, the terms are not accepted, or the model cannot clone. */
  async sample() {
    return this.#sample && this.#isAllowed ? dataUrl(this.#sample) : null;
  }

  /** Closes the microphone. A recording becomes the sample unless the consent has been withdrawn. */
  stopRecording() {
    void this.#record.stop();
  }

  get #isAllowed() {
    return !this.#why && this.#consent.checked && this.#disclosure.checked;
  }

  #update() {
    if (!this.#isAllowed) this.stopRecording();
    this.#consent.disabled = this.#disclosure.disabled = Boolean(this.#why);
    this.#file.disabled = this.#record.element.disabled = !this.#isAllowed;
    this.#store.disabled = !this.#isAllowed || !this.#sample;
    if (this.#why) this.#say(this.#why);
    else if (!this.#isAllowed) this.#say("Accept both statements to continue.");
    else this.#say(this.#sample ? `The next speech uses the voice in ${this.#sample.name}.` : "");
  }

  /** @param {File | null} file */
  #take(file) {
    this.#sample = file;
    if (!file) this.#file.value = "";
    URL.revokeObjectURL(this.#player.src);
    this.#player.hidden = this.#forget.hidden = !file;
    if (file) this.#player.src = URL.createObjectURL(file);
    this.#update();
  }

  #discard() {
    this.#take(null);
    this.#file.focus(); // the button with the focus is hidden now
  }

  async #keep() {
    if (!this.#sample) return;
    const form = new FormData();
    form.append("name", this.#name.value);
    form.append("consent", this.#reference.value);
    form.append("audio_sample", this.#sample);
    try {
      const voice = await this.api.json("v1/audio/voices", { method: "POST", body: form });
      this.#take(null);
      await this.onStored();
      this.#say(`Stored as ${voice.name}. ${voice.warning ?? ""}`);
    } catch (error) {
      this.#say(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} text */
  #say(text) {
    this.#status.textContent = text;
  }
}

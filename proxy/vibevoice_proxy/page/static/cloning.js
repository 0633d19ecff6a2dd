/** Voice cloning from a recording, with the speaker's consent (docs/guides/voice-cloning.md, Before you clone a voice). */

import { button, el, field, icon } from "./dom.js";
import { dataUrl } from "./files.js";
import { RecordButton } from "./record-button.js";

export class Cloning {
  /** @type {File | null} */
  #sample = null;
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
  #forget = button("Remove", () => this.#take(null), { class: "quiet", hidden: true });

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
        if (!this.#isAllowed) this.stopRecording();
        this.#update();
      });
    }
    this.element = el(
      "details",
      { class: "options" },
      el("summary", {}, icon("microphone"), "Clone a voice"),
      el(
        "div",
        { class: "stack" },
        el(
          "p",
          {},
          "Use 10 to 15 seconds of one person in a quiet room, without music. Only VibeVoice-1.5B can clone voices.",
        ),
        el("label", { class: "check" }, this.#consent, "This person has given recorded consent."),
        el(
          "label",
          { class: "check" },
          this.#disclosure,
          "I will tell listeners that the speech is generated, and I will not use the voice to deceive or impersonate anyone.",
        ),
        el("div", { class: "actions" }, field("Recording", this.#file), this.#record.element, this.#forget),
        this.#player,
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
        this.#status,
      ),
    );
    this.#update();
  }

  /** The recording to clone as a data URL; null if there is none or the terms are not accepted. */
  async sample() {
    return this.#sample && this.#isAllowed ? dataUrl(this.#sample) : null;
  }

  /** Closes the microphone. A recording becomes the sample unless the consent has been withdrawn. */
  stopRecording() {
    void this.#record.stop();
  }

  get #isAllowed() {
    return this.#consent.checked && this.#disclosure.checked;
  }

  #update() {
    this.#file.disabled = this.#record.element.disabled = !this.#isAllowed;
    this.#store.disabled = !this.#isAllowed || !this.#sample;
    if (!this.#isAllowed) this.#say("Accept both statements to continue.");
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

  async #keep() {
    if (!this.#sample) return;
    const form = new FormData();
    form.append("name", this.#name.value);
    form.append("consent", this.#reference.value);
    form.append("audio_sample", this.#sample);
    try {
      const voice = await this.api.json("v1/audio/voices", { method: "POST", body: form });
      this.#take(null);
      this.#say(`Stored as ${voice.name}. ${voice.warning ?? ""}`);
      await this.onStored();
    } catch (error) {
      this.#say(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} text */
  #say(text) {
    this.#status.textContent = text;
  }
}

/** The Speak view: turns a text or a script into speech and plays it while it is generated. */

import { received } from "./api.js";
import { Cloning } from "./cloning.js";
import { button, el, field } from "./dom.js";
import { save } from "./files.js";
import { speakersIn } from "./script.js";
import { SpeechPlayer } from "./speech-player.js";
import { clock } from "./transcript.js";
import { Voices } from "./voices.js";

const EXAMPLE = "Hello! This speech was generated on this server. Type any text and press Speak.";
const PREVIEW = "This is a preview of my voice.";
const FORMATS = ["wav", "mp3", "opus", "aac", "flac"];

export class SpeakView {
  title = "Speak";
  #player = new SpeechPlayer();
  #making = new AbortController();
  /** @type {Record<string, unknown>} the request of the current result */
  #made = {};
  /** The current result as WAV. */
  #file = new Blob();
  #text = el("textarea", { rows: 8, dir: "auto", spellcheck: "true" }, EXAMPLE);
  #count = el("span");
  #speed = el("input", { type: "range", min: 0.5, max: 2, step: 0.05, value: 1 });
  #speedText = el("output", {}, "1.00 ×");
  #speak = button("Speak", () => this.#start(), { icon: "play", class: "primary" });
  #stop = button("Stop", () => this.#cancel(), { icon: "stop", hidden: true });
  #status = el("p", { role: "status", class: "soft" });
  #alert = el("p", { class: "note", role: "alert", hidden: true });
  #result = el("div", { class: "result", hidden: true });
  #incomplete = el("p", { class: "soft", hidden: true }, "Incomplete: only the part that arrived.");
  #again = el("audio", { controls: true, "aria-label": "The speech" });
  #format = el("select", { "aria-label": "Format" }, ...FORMATS.map((name) => el("option", { value: name }, name)));

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.voices = new Voices(
      api,
      () => this.#preview(),
      (models, chosen) => this.cloning.setModels(models, chosen),
      (message) => this.#warn(message),
    );
    this.cloning = new Cloning(api, () => this.voices.load());
    this.#text.addEventListener("input", () => this.#read());
    this.#speed.addEventListener("input", () => {
      this.#speedText.textContent = `${this.#speed.valueAsNumber.toFixed(2)} ×`;
    });
    this.#result.append(
      this.#incomplete,
      this.#again,
      el(
        "div",
        { class: "actions" },
        this.#format,
        button("Download", () => this.#download(), { icon: "download" }),
      ),
    );
    const label = field("Text or script", this.#text, this.#count);
    const speed = el("span", { class: "pair" }, this.#speed, this.#speedText);
    this.element = el(
      "div",
      { class: "speak panel" },
      label,
      el(
        "div",
        { class: "grid" },
        ...this.voices.elements,
        el("label", { class: "field" }, el("span", {}, "Speed"), speed),
      ),
      this.voices.castElement,
      this.cloning.element,
      el("div", { class: "actions" }, this.#speak, this.#stop, this.#status),
      this.#alert,
      this.#result,
    );
  }

  async show() {
    this.#read();
    await this.voices.load();
    this.#speak.disabled = !this.voices.model.value;
    if (this.#speak.disabled) this.#warn("Speech synthesis is disabled on this server (TTS_MODEL_TYPE=off).");
  }

  hide() {
    this.#cancel();
    this.cloning.stopRecording();
  }

  #read() {
    const speakers = speakersIn(this.#text.value);
    this.voices.setSpeakers(speakers);
    const script = speakers.length > 0 ? `, ${speakers.length} speakers` : "";
    const hint = speakers.length > 0 ? "" : " For a script, begin lines with a name and a colon.";
    this.#count.textContent = `${this.#text.value.length.toLocaleString()} characters${script}.${hint}`;
  }

  async #start() {
    let sample = null;
    try {
      sample = await this.cloning.sample();
    } catch (error) {
      this.#warn(/** @type {Error} */ (error).message);
      return;
    }
    const body = {
      input: this.#text.value,
      speed: this.#speed.valueAsNumber,
      ...this.voices.fields,
      ...(sample ? { ref_audio: sample } : {}),
    };
    const part = await this.#play(body);
    if (part === "none") return;
    this.#made = body;
    this.#file = this.#player.file;
    URL.revokeObjectURL(this.#again.src);
    this.#again.src = URL.createObjectURL(this.#file);
    this.#incomplete.hidden = part === "all";
    this.#result.hidden = false;
  }

  async #preview() {
    const { model, voice } = this.voices.fields;
    await this.#play({ input: PREVIEW, model, voice });
  }

  /**
   * Generates and plays speech. Returns how much of it was received; "none" also if the user stopped it.
   * @param {Record<string, unknown>} body
   * @returns {Promise<"all" | "some" | "none">}
   */
  async #play(body) {
    this.#cancel();
    this.#making = new AbortController();
    const { signal } = this.#making;
    this.#warn("");
    this.#stop.hidden = false;
    this.#status.textContent = "Waiting for audio…";
    const started = performance.now();
    let first = 0;
    try {
      const response = await this.api.post("v1/audio/speech", { ...body, response_format: "pcm" }, signal);
      await this.#player.play(response, () => {
        first ||= (performance.now() - started) / 1000;
        this.#status.textContent = `Playing, ${clock(this.#player.seconds)} so far…`;
      });
      const model = response.headers.get("x-vibevoice-model") ?? "";
      this.#status.textContent = `${clock(this.#player.seconds)} by ${model}; first sound after ${first.toFixed(1)} s.`;
      this.#warn(response.headers.get("x-vibevoice-voice-warning") ?? "");
    } catch (error) {
      if (signal.aborted) return "none";
      const { message } = /** @type {Error} */ (error);
      if (this.#player.seconds === 0) {
        this.#cancel();
        this.#warn(message);
        return "none";
      }
      this.#status.textContent = "";
      this.#warn(`The speech broke off after ${clock(this.#player.seconds)}. ${message}`);
      void this.#hideStop(signal);
      return "some";
    }
    void this.#hideStop(signal);
    return "all";
  }

  /**
   * Hides the button Stop when playback has finished.
   * @param {AbortSignal} signal aborted if something else plays by then
   */
  async #hideStop(signal) {
    await this.#player.silence();
    if (!signal.aborted) this.#stop.hidden = true;
  }

  #cancel() {
    this.#making.abort();
    this.#player.stop();
    this.#stop.hidden = true;
    this.#status.textContent = "";
  }

  /** @param {string} text */
  #warn(text) {
    this.#alert.textContent = text;
    this.#alert.hidden = !text;
  }

  /** WAV is in memory. Other formats are requested from the server. */
  async #download() {
    const format = this.#format.value;
    const isInMemory = format === "wav";
    try {
      const body = { ...this.#made, response_format: format };
      const content = isInMemory ? this.#file : await received((await this.api.post("v1/audio/speech", body)).blob());
      save(content, isInMemory && !this.#incomplete.hidden ? "speech-incomplete.wav" : `speech.${format}`);
    } catch (error) {
      this.#warn(/** @type {Error} */ (error).message);
    }
  }
}

/** The Speak view: turns a text or a script into speech and plays it while it is generated. */

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
  #again = el("audio", { controls: true, "aria-label": "The speech" });
  #format = el("select", { "aria-label": "Format" }, ...FORMATS.map((name) => el("option", { value: name }, name)));

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.voices = new Voices(
      api,
      () => this.#preview(),
      (message) => this.#warn(message),
    );
    this.cloning = new Cloning(api, () => this.voices.load());
    this.#text.addEventListener("input", () => this.#read());
    this.#speed.addEventListener("input", () => {
      this.#speedText.textContent = `${this.#speed.valueAsNumber.toFixed(2)} ×`;
    });
    this.#result.append(
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
    const sample = await this.cloning.sample();
    const body = {
      input: this.#text.value,
      speed: this.#speed.valueAsNumber,
      ...this.voices.fields,
      ...(sample ? { ref_audio: sample } : {}),
    };
    if (await this.#play(body)) {
      this.#made = body;
      this.#file = this.#player.file;
      URL.revokeObjectURL(this.#again.src);
      this.#again.src = URL.createObjectURL(this.#file);
      this.#result.hidden = false;
    }
  }

  async #preview() {
    const { model, voice } = this.voices.fields;
    await this.#play({ input: PREVIEW, model, voice });
  }

  /**
   * Generates and plays speech. Returns whether it succeeded.
   * @param {Record<string, unknown>} body
   */
  async #play(body) {
    this.#cancel();
    this.#making = new AbortController();
    const { signal } = this.#making;
    this.#alert.hidden = true;
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
      void this.#player.silence().then(() => {
        if (!signal.aborted) this.#stop.hidden = true;
      });
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      this.#cancel();
      this.#warn(/** @type {Error} */ (error).message);
      return false;
    }
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
    try {
      const content =
        format === "wav"
          ? this.#file
          : await (await this.api.post("v1/audio/speech", { ...this.#made, response_format: format })).blob();
      save(content, `speech.${format}`);
    } catch (error) {
      this.#warn(/** @type {Error} */ (error).message);
    }
  }
}

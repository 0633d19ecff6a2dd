/** A button that starts and stops a recording from the microphone. */

import { button } from "./dom.js";
import { Recorder } from "./recorder.js";

export class RecordButton {
  #recorder = new Recorder();
  #isToggling = false;
  #isWanted = false;

  /**
   * @param {(file: File) => void} onRecording
   * @param {(message: string) => void} onError called with an empty message when a new recording starts
   */
  constructor(onRecording, onError) {
    this.onRecording = onRecording;
    this.onError = onError;
    this.element = button("Record", () => this.#onClick(), { icon: "microphone" });
  }

  get isRecording() {
    return this.#recorder.isRecording;
  }

  /** Ends the recording, if there is one. If the browser still asks for permission, nothing will be recorded. */
  async stop() {
    this.#isWanted = false;
    if (!this.#isToggling) await this.#toggle();
  }

  async #onClick() {
    if (this.#isToggling) return; // a second click, for example while the browser asks for permission
    this.#isWanted = !this.isRecording;
    await this.#toggle();
  }

  async #toggle() {
    this.#isToggling = true;
    try {
      if (this.#isWanted) await this.#start();
      else if (this.isRecording) this.onRecording(await this.#recorder.stop());
    } catch (error) {
      this.onError(/** @type {Error} */ (error).message);
    }
    this.#isToggling = false;
    this.element.classList.toggle("recording", this.isRecording);
    this.element.lastChild?.replaceWith(this.isRecording ? "Stop recording" : "Record");
  }

  async #start() {
    this.onError("");
    await this.#recorder.start();
    if (!this.#isWanted) await this.#recorder.stop();
  }
}

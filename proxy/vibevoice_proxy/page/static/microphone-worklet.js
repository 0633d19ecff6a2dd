/** Runs on the audio thread. Posts samples at the rate it is given and their peak ten times a second. */

import { Resampler } from "./resampler.js";

class MicrophoneProcessor extends AudioWorkletProcessor {
  #filled = 0;
  #level = 0;

  /** @param {{ processorOptions: { rate: number } }} options rate of the posted samples in Hz */
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(sampleRate, rate);
    this.samples = new Int16Array(rate / 10);
  }

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const heard = inputs[0]?.[0];
    for (const value of heard ? this.resampler.push(heard) : []) {
      this.#level = Math.max(this.#level, Math.abs(value));
      this.samples[this.#filled] = Math.max(-1, Math.min(1, value)) * 32767;
      this.#filled += 1;
      if (this.#filled === this.samples.length) this.#send();
    }
    return true;
  }

  #send() {
    const { samples } = this;
    this.samples = new Int16Array(samples.length);
    this.port.postMessage({ samples, level: this.#level }, [samples.buffer]);
    this.#filled = 0;
    this.#level = 0;
  }
}

registerProcessor("microphone", MicrophoneProcessor);

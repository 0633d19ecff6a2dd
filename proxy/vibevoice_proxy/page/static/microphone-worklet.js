/** Runs on the audio thread. Posts samples and their peak ten times a second. */

class MicrophoneProcessor extends AudioWorkletProcessor {
  #samples = new Int16Array(sampleRate / 10);
  #filled = 0;
  #level = 0;

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    for (const value of inputs[0]?.[0] ?? []) {
      this.#level = Math.max(this.#level, Math.abs(value));
      this.#samples[this.#filled] = Math.max(-1, Math.min(1, value)) * 32767;
      this.#filled += 1;
      if (this.#filled === this.#samples.length) this.#send();
    }
    return true;
  }

  #send() {
    const samples = this.#samples;
    this.port.postMessage({ samples, level: this.#level }, [samples.buffer]);
    this.#samples = new Int16Array(sampleRate / 10);
    this.#filled = 0;
    this.#level = 0;
  }
}

registerProcessor("microphone", MicrophoneProcessor);

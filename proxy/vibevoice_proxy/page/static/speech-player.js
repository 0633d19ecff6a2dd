/** Plays streamed speech and keeps it as a WAV file. The API's pcm is 16-bit mono at 24 kHz. */

import { received } from "./api.js";

export const RATE = 24_000;
/** Seconds of buffer before playback starts, to hide short stalls. */
const LEAD = 0.15;

export class SpeechPlayer {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {Uint8Array[]} */
  #parts = [];
  #bytes = 0;
  #end = 0;

  /** Seconds of speech received. */
  get seconds() {
    return this.#bytes / 2 / RATE;
  }

  /**
   * Plays a response while it streams. Resolves when all of it is received; playback may still continue.
   * @param {Response} response
   * @param {() => void} onChunk
   */
  async play(response, onChunk) {
    this.stop();
    const context = new AudioContext({ sampleRate: RATE });
    this.#context = context;
    let odd = new Uint8Array();
    for await (const chunk of chunksOf(response)) {
      const bytes = new Uint8Array(odd.length + chunk.length);
      bytes.set(odd);
      bytes.set(chunk, odd.length);
      const whole = bytes.slice(0, bytes.length - (bytes.length % 2));
      odd = bytes.slice(whole.length);
      if (whole.length === 0) continue;
      this.#parts.push(whole);
      this.#bytes += whole.length;
      this.#schedule(context, whole);
      onChunk();
    }
  }

  /** Resolves when playback has finished. */
  async silence() {
    const left = this.#context ? this.#end - this.#context.currentTime : 0;
    await new Promise((resolve) => setTimeout(resolve, 1000 * left));
  }

  /** Stops playback and discards what was received. */
  stop() {
    void this.#context?.close();
    this.#context = null;
    this.#parts = [];
    this.#bytes = 0;
    this.#end = 0;
  }

  /** The received speech as a WAV file. */
  get file() {
    const header = new DataView(new ArrayBuffer(44));
    const text = (/** @type {number} */ at, /** @type {string} */ value) => {
      for (const [index, character] of [...value].entries()) header.setUint8(at + index, character.charCodeAt(0));
    };
    text(0, "RIFF");
    header.setUint32(4, 36 + this.#bytes, true);
    text(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true); // PCM
    header.setUint16(22, 1, true); // channels
    header.setUint32(24, RATE, true);
    header.setUint32(28, RATE * 2, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    text(36, "data");
    header.setUint32(40, this.#bytes, true);
    return new Blob([header, .../** @type {BlobPart[]} */ (this.#parts)], { type: "audio/wav" });
  }

  /**
   * @param {AudioContext} context
   * @param {Uint8Array} bytes
   */
  #schedule(context, bytes) {
    if (context.state === "closed") return;
    const integers = new Int16Array(bytes.buffer);
    const buffer = context.createBuffer(1, integers.length, RATE);
    buffer.getChannelData(0).set(Float32Array.from(integers, (value) => value / 32768));
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    this.#end = Math.max(this.#end, context.currentTime + LEAD);
    source.start(this.#end);
    this.#end += buffer.duration;
  }
}

/**
 * @param {Response} response
 * @returns {AsyncGenerator<Uint8Array>}
 */
async function* chunksOf(response) {
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await received(reader.read());
    if (done) return;
    yield value;
  }
}

/** Microphone input in the format of the realtime API: 16-bit mono at 24 kHz, in chunks of 0.1 s. */

import { received } from "./api.js";
import { openMicrophone } from "./recorder.js";

export const RATE = 24_000;

export class Microphone {
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {AudioContext | null} */
  #context = null;

  /**
   * Opens the microphone. Throws an Error with a message for the user.
   * @param {(samples: Int16Array, level: number) => void} onSamples level from 0 to 1
   */
  async open(onSamples) {
    this.#stream = await openMicrophone();
    const { context, source } = connect(this.#stream);
    this.#context = context;
    await received(context.audioWorklet.addModule(new URL("microphone-worklet.js", import.meta.url)));
    const node = new AudioWorkletNode(context, "microphone", {
      numberOfOutputs: 0,
      processorOptions: { rate: RATE },
    });
    node.port.onmessage = ({ data }) => onSamples(data.samples, data.level);
    source.connect(node);
  }

  close() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    void this.#context?.close();
    this.#stream = null;
    this.#context = null;
  }
}

/**
 * A source at 24 kHz, or at the microphone's own rate: Firefox only connects a microphone to a
 * context with the same rate.
 * @param {MediaStream} stream
 */
function connect(stream) {
  const context = new AudioContext({ sampleRate: RATE });
  try {
    return sourceIn(context, stream);
  } catch {
    void context.close();
    return sourceIn(new AudioContext(), stream);
  }
}

/**
 * @param {AudioContext} context
 * @param {MediaStream} stream
 */
function sourceIn(context, stream) {
  return { context, source: context.createMediaStreamSource(stream) };
}

/** Changes the sample rate of audio that arrives in pieces. */

/** Zero crossings of the filter on each side. More make its edge steeper. */
const CROSSINGS = 16;
/** Cutoff of the filter (-6 dB), as a share of the lower rate's Nyquist frequency. */
const EDGE = 0.92;

/** Filters with a sinc in a Hann window, which removes frequencies that the lower rate cannot represent. */
export class Resampler {
  /** Input samples needed for the next output. */
  #kept = new Float32Array();
  #phase = 0;

  /**
   * @param {number} from Hz
   * @param {number} to Hz
   */
  constructor(from, to) {
    const divisor = greatestCommonDivisor(from, to);
    this.from = from / divisor;
    this.to = to / divisor;
    const cutoff = EDGE * Math.min(1, to / from);
    /** One filter for each position of an output sample between two input samples. */
    this.filters = Array.from({ length: this.to }, (_, phase) => filter(phase / this.to, cutoff));
  }

  /**
   * @param {Float32Array} samples
   * @returns {ArrayLike<number> & Iterable<number>} the samples that are complete
   */
  push(samples) {
    if (this.from === this.to) return samples;
    const input = new Float32Array(this.#kept.length + samples.length);
    input.set(this.#kept);
    input.set(samples, this.#kept.length);
    const output = [];
    const { length } = /** @type {Float32Array} */ (this.filters[0]);
    let at = 0;
    while (at + length <= input.length) {
      const weights = /** @type {Float32Array} */ (this.filters[this.#phase]);
      output.push(weights.reduce((sum, weight, tap) => sum + weight * (input[at + tap] ?? 0), 0));
      this.#phase += this.from;
      at += Math.floor(this.#phase / this.to);
      this.#phase %= this.to;
    }
    this.#kept = input.slice(at);
    return output;
  }
}

/**
 * @param {number} offset of the output sample from the input sample before it, from 0 to 1
 * @param {number} cutoff as a share of the input's Nyquist frequency
 */
function filter(offset, cutoff) {
  const reach = Math.ceil(CROSSINGS / cutoff);
  const weights = Float32Array.from({ length: 2 * reach }, (_, tap) => {
    const distance = tap - (reach - 1) - offset;
    const angle = Math.PI * cutoff * distance;
    return (angle === 0 ? 1 : Math.sin(angle) / angle) * Math.cos((Math.PI * distance) / (2 * reach)) ** 2;
  });
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/**
 * @param {number} one
 * @param {number} other
 * @returns {number}
 */
function greatestCommonDivisor(one, other) {
  return other === 0 ? one : greatestCommonDivisor(other, one % other);
}

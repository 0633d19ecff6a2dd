/**
 * Computes the peaks of a recording for its waveform. The browser decodes it piece by piece, off the main
 * thread, so that an hour-long recording does not block the page or fill its memory.
 */

/** Hz; enough for peaks. */
const RATE = 8000;
const PIECE_BYTES = 1 << 20;
/** Longest recording, in seconds, that is decoded in one piece: 45 minutes of 48 kHz stereo take 1 GB while decoding. */
const MAX_WHOLE_SECONDS = 2700;
const MAX_BINS = 16_000;
const BINS_PER_SECOND = 50;
const MIN_BINS = 1000;

/** @typedef {{ header: Blob, start: number, step: number }} Cut how to cut a file: header of each piece, first byte, alignment in bytes */

/**
 * Evenly spaced peaks from 0 to 1; null if the browser cannot decode the recording.
 * @param {Blob} file
 * @param {number} duration seconds
 * @param {AbortSignal} signal
 * @returns {Promise<Float32Array | null>}
 */
export async function peaksOf(file, duration, signal) {
  const count = Math.min(MAX_BINS, Math.max(MIN_BINS, Math.ceil(duration * BINS_PER_SECOND)));
  const peaks = new Float32Array(count);
  const context = new OfflineAudioContext(1, 1, RATE);
  const cut = await findCut(file);
  if (!cut && duration > MAX_WHOLE_SECONDS) return null;
  let seconds = 0;
  try {
    for (const piece of cut ? pieces(file, cut) : [file]) {
      const audio = await context.decodeAudioData(await piece.arrayBuffer());
      if (signal.aborted) return null;
      addPeaks(peaks, audio.getChannelData(0), (seconds / duration) * count, count / (duration * RATE));
      seconds += audio.duration;
    }
  } catch {
    return null; // only the server can decode this file
  }
  return normalized(peaks);
}

/**
 * WAV can be cut between frames. MP3 can be cut anywhere because decoders search for the next frame.
 * @param {Blob} file
 * @returns {Promise<Cut | null>}
 */
async function findCut(file) {
  const head = new DataView(await file.slice(0, 4096).arrayBuffer());
  if (head.byteLength < 12) return null;
  const isMp3 = ascii(head, 0, 3) === "ID3" || (head.getUint16(0) & 0xffe0) === 0xffe0;
  const isAdts = (head.getUint16(0) & 0xfff6) === 0xfff0;
  if (isMp3 && !isAdts) return { header: new Blob(), start: 0, step: 1 };
  if (ascii(head, 0, 4) !== "RIFF" || ascii(head, 8, 4) !== "WAVE") return null;
  let step = 0;
  for (let at = 12; at + 24 <= head.byteLength; ) {
    const size = head.getUint32(at + 4, true);
    if (ascii(head, at, 4) === "fmt ") step = head.getUint16(at + 20, true);
    if (ascii(head, at, 4) === "data" && step) return { header: file.slice(0, at + 8), start: at + 8, step };
    at += 8 + size + (size % 2);
  }
  return null;
}

/**
 * @param {Blob} file
 * @param {Cut} cut
 */
function* pieces(file, { header, start, step }) {
  const size = Math.max(step, PIECE_BYTES - (PIECE_BYTES % step));
  for (let at = start; at < file.size; at += size) yield new Blob([header, file.slice(at, at + size)]);
}

/**
 * @param {Float32Array} peaks
 * @param {Float32Array} samples
 * @param {number} first bin of the first sample
 * @param {number} perSample bins
 */
function addPeaks(peaks, samples, first, perSample) {
  for (let index = 0; index < samples.length; index += 1) {
    const bin = Math.floor(first + index * perSample);
    const value = Math.abs(samples[index] ?? 0);
    if (value > (peaks[bin] ?? 1)) peaks[bin] = value;
  }
}

/** @param {Float32Array} peaks */
function normalized(peaks) {
  let most = 0;
  for (const peak of peaks) most = Math.max(most, peak);
  return most > 0 ? peaks.map((peak) => peak / most) : peaks;
}

/**
 * @param {DataView} view
 * @param {number} start
 * @param {number} length
 */
function ascii(view, start, length) {
  return String.fromCharCode(...new Uint8Array(view.buffer, start, length));
}

/** Parses Prometheus' text format and derives what the page plots: https://prometheus.io/docs/instrumenting/exposition_formats/ */

/** @typedef {{ name: string, labels: Record<string, string>, value: number }} Sample */
/** @typedef {{ time: number, running: number, waiting: number, sessions: number, audio: number, work: number, errors: number }} Reading */
/** @typedef {{ time: number, running: number, waiting: number, sessions: number, factor: number | null, errors: number }} Point */

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/**
 * @param {string} text
 * @returns {Sample[]}
 */
export function parseMetrics(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = LINE.exec(line) ?? [];
    if (!name) return [];
    const pairs = Array.from(labels.matchAll(LABEL), ([, key, text]) => [key, text]);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

/**
 * The counters at one time, summed over transcription and speech. Failed turns of live sessions count as errors.
 * @param {Sample[]} samples
 * @param {number} time milliseconds
 * @returns {Reading}
 */
export function reading(samples, time) {
  const sum = (
    /** @type {RegExp} */ name,
    /** @type {(labels: Record<string, string>) => boolean} */ counts = () => true,
  ) =>
    samples.reduce((total, sample) => total + (name.test(sample.name) && counts(sample.labels) ? sample.value : 0), 0);
  return {
    time,
    running: sum(/^vibevoice_(speech_)?in_flight$/),
    waiting: sum(/^vibevoice_(speech_)?waiting$/),
    sessions: sum(/^vibevoice_realtime_sessions_open$/),
    audio: sum(/^vibevoice_real_time_factor_count$/),
    work: sum(/^vibevoice_real_time_factor_sum$/),
    errors:
      sum(/^vibevoice_requests_total$/, isError) +
      sum(/^vibevoice_realtime_turns_total$/, ({ outcome }) => outcome === "failed"),
  };
}

/**
 * Whether a request counts as an error. Two responses are part of normal operation: /health of a server that is not
 * ready, and the list of enrolled speakers if enrollment is disabled, which the page requests itself.
 * @param {Record<string, string>} labels
 */
function isError({ status, route }) {
  return Number(status) >= 400 && route !== "/health" && !(status === "403" && route === "/v1/audio/speakers");
}

/**
 * What happened between two readings. The real-time factor is null if no recording was finished.
 * @param {Reading} before
 * @param {Reading} after
 * @returns {Point}
 */
export function between(before, after) {
  const done = after.audio - before.audio;
  return {
    time: after.time,
    running: after.running,
    waiting: after.waiting,
    sessions: after.sessions,
    factor: done > 0 ? (after.work - before.work) / done : null,
    errors: Math.max(0, after.errors - before.errors), // counters restart at zero with the server
  };
}

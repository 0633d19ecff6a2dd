/** A transcript with the user's changes: names, merged speakers and corrected words. */

/** @typedef {{ id: string, start: number, end: number, speaker: string | null, text: string }} Segment times in seconds */
/** @typedef {{ start: number, end: number, reason: string }} Missing */
/** @typedef {{ label: string, name: string, color: number, seconds: number }} Speaker */

/** The API's label for no speaker. */
const UNKNOWN = "unknown";
/** Classes `speaker-0`, … of style.css. */
const COLORS = 8;
const UNCLEAR = "By default, the light recognizer only supports English.";
/** @type {Record<string, string>} The API's reasons for missing parts, in words. */
const REASONS = {
  loop: "the model repeated itself",
  length: "the model reached its length limit",
  format: "the model's answer has no times",
  no_transcript: "the model wrote nothing",
  incomplete_file: "the file was cut off",
  unclear: "the words were not clear",
  refused_by_engine: "the engine rejected it",
  upstream_timeout: "the engine took too long",
  upstream_unavailable: "the engine could not be reached",
  upstream_error: "the engine failed",
};

export class Transcript {
  /** @type {Segment[]} */
  segments = [];
  /** @type {Missing[]} */
  missing = [];
  /** @type {Record<string, unknown> | null} what the server counted */
  usage = null;
  /** Seconds of the recording. */
  duration = 0;
  /** @type {Map<string, string>} label → name, in order of appearance */
  #names = new Map();
  /** @type {Map<string, number>} */
  #colors = new Map();
  /** @type {Map<string, string>} label → label of the speaker it was merged into */
  #merged = new Map();

  /**
   * Adds a segment from the API.
   * @param {{ id: string, start: number, end: number, speaker: string | null, text: string }} segment
   * @returns {Segment}
   */
  add({ id, start, end, speaker, text }) {
    const label = speaker === null || speaker === UNKNOWN ? null : (this.#merged.get(speaker) ?? speaker);
    const added = { id, start, end, speaker: label, text };
    if (label !== null && !this.#names.has(label)) {
      this.#names.set(label, label);
      this.#colors.set(label, this.#colors.size % COLORS);
    }
    this.segments.push(added);
    this.duration = Math.max(this.duration, end);
    return added;
  }

  /** @returns {Speaker[]} who speaks, in order of appearance */
  get speakers() {
    const seconds = new Map();
    for (const { speaker, start, end } of this.segments) {
      if (speaker !== null) seconds.set(speaker, (seconds.get(speaker) ?? 0) + end - start);
    }
    return [...this.#names]
      .filter(([label]) => seconds.has(label))
      .map(([label, name]) => ({ label, name, color: this.color(label), seconds: seconds.get(label) }));
  }

  /** @param {string} label */
  color(label) {
    return this.#colors.get(label) ?? 0;
  }

  /**
   * Display name of a segment's speaker; null if there is none.
   * @param {Segment} segment
   */
  nameOf({ speaker }) {
    return speaker === null ? null : (this.#names.get(speaker) ?? speaker);
  }

  /**
   * Renames a speaker. An empty name restores the label.
   * @param {string} label
   * @param {string} name
   */
  rename(label, name) {
    this.#names.set(label, name.trim() || label);
  }

  /**
   * Assigns all segments of `from` to `into`, including those that arrive later.
   * @param {string} from
   * @param {string} into
   */
  merge(from, into) {
    for (const [label, target] of this.#merged) if (target === from) this.#merged.set(label, into);
    this.#merged.set(from, into);
    for (const segment of this.segments) if (segment.speaker === from) segment.speaker = into;
  }

  /** A sentence about the parts without a transcript; empty if there are none. */
  get missingNote() {
    const parts = this.missing.map(
      ({ start, end, reason }) => `${clock(start)}–${clock(end)} (${REASONS[reason] ?? reason})`,
    );
    if (parts.length === 0) return "";
    const hint = this.missing.some(({ reason }) => reason === "unclear") ? ` ${UNCLEAR}` : "";
    return `No transcript of ${parts.join(", ")}.${hint}`;
  }

  /** The segments with display names. */
  get named() {
    return this.segments.map((segment) => ({ ...segment, speaker: this.nameOf(segment) }));
  }

  /**
   * Index of the last segment that starts at or before a time; -1 if there is none.
   * @param {number} seconds
   */
  indexAt(seconds) {
    let low = 0;
    let high = this.segments.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.segments[middle]?.start ?? 0) <= seconds) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /**
   * Indexes of the segments that contain a text, ignoring case.
   * @param {string} text
   */
  find(text) {
    const wanted = text.toLowerCase();
    if (!wanted) return [];
    return this.segments.flatMap((segment, index) => (segment.text.toLowerCase().includes(wanted) ? [index] : []));
  }
}

/**
 * 3725.4 → 1:02:05.
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = String(rest).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
}

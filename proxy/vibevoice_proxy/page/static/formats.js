/** Writes a transcript, with the user's names and corrections, in the formats of the API. */

import { srt, vtt } from "./subtitles.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */
/** @typedef {import("./subtitles.js").Limits} Limits */
/** @typedef {{ label: string, extension: string, type: string, write: (transcript: Transcript, limits: Limits) => string }} Format */

/** Matches a non-speech event such as `[Music]`. */
const NON_SPEECH = /^\[[^[\]]+\]$/;
/** Matches characters of scripts without spaces between words. */
const WIDE = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u3000-\u303f\uff01-\uff60]$/u;

/** @type {Record<string, Format>} */
export const FORMATS = {
  dialog: { label: "Text with speakers", extension: "txt", type: "text/plain", write: dialog },
  text: { label: "Text", extension: "txt", type: "text/plain", write: plainText },
  srt: { label: "Subtitles (SRT)", extension: "srt", type: "application/x-subrip", write: writeSrt },
  vtt: { label: "Subtitles (WebVTT)", extension: "vtt", type: "text/vtt", write: writeVtt },
  json: { label: "JSON", extension: "json", type: "application/json", write: json },
  verbose_json: { label: "JSON with times", extension: "json", type: "application/json", write: verboseJson },
  diarized_json: { label: "JSON with speakers", extension: "json", type: "application/json", write: diarizedJson },
};

/** @param {Transcript} transcript */
function spoken(transcript) {
  return transcript.named.filter((segment) => !NON_SPEECH.test(segment.text));
}

/** @param {Transcript} transcript */
function runningText(transcript) {
  let text = "";
  for (const segment of spoken(transcript)) {
    if (!segment.text) continue;
    const first = String.fromCodePoint(segment.text.codePointAt(0) ?? 32);
    const isUnspaced = WIDE.test([...text.slice(-2)].pop() ?? "") && WIDE.test(first);
    text += (text && !isUnspaced ? " " : "") + segment.text;
  }
  return text;
}

/** @param {Transcript} transcript */
function dialogText(transcript) {
  return spoken(transcript)
    .map(({ speaker, text }) => (speaker === null ? text : `${speaker}: ${text}`))
    .join("\n");
}

/** @param {Transcript} transcript */
function dialog(transcript) {
  return `${dialogText(transcript)}\n`;
}

/** @param {Transcript} transcript */
function plainText(transcript) {
  const text = runningText(transcript);
  return text ? `${text}\n` : "";
}

/**
 * @param {Transcript} transcript
 * @param {Limits} limits
 */
function writeSrt(transcript, limits) {
  return srt(transcript.named, limits);
}

/**
 * @param {Transcript} transcript
 * @param {Limits} limits
 */
function writeVtt(transcript, limits) {
  return vtt(transcript.named, limits);
}

/** @param {Transcript} transcript */
function json(transcript) {
  return dump({ text: runningText(transcript), usage: usage(transcript) });
}

/** @param {Transcript} transcript */
function verboseJson(transcript) {
  return dump({
    task: "transcribe",
    language: "unknown",
    duration: transcript.duration,
    text: runningText(transcript),
    segments: transcript.named.map(({ start, end, text, speaker }, id) => ({ id, start, end, text, speaker })),
    usage: durationUsage(transcript),
    ...truncation(transcript),
  });
}

/** @param {Transcript} transcript */
function diarizedJson(transcript) {
  return dump({
    task: "transcribe",
    duration: transcript.duration,
    text: dialogText(transcript),
    segments: transcript.named.map(({ id, start, end, text, speaker }) => ({
      type: "transcript.text.segment",
      ...{ id, start, end, text },
      speaker: speaker ?? "unknown",
    })),
    usage: usage(transcript),
    ...truncation(transcript),
  });
}

/**
 * The tokens that the server reported, or the duration if nothing counted tokens.
 * @param {Transcript} transcript
 */
function usage(transcript) {
  return transcript.usage ?? durationUsage(transcript);
}

/** @param {Transcript} transcript */
function durationUsage({ duration }) {
  return { type: "duration", seconds: Math.ceil(duration) };
}

/** @param {Transcript} transcript */
function truncation({ missing }) {
  if (missing.length === 0) return {};
  return { truncated: [...new Set(missing.map((part) => part.reason))].join(","), missing };
}

/** @param {unknown} value */
function dump(value) {
  return `${JSON.stringify(value, null, 2)}\n`;
}

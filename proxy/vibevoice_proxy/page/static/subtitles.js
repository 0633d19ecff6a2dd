/**
 * Writes segments as subtitles, with the server's rules (core/vibevoice_core/subtitles.py; a test
 * compares both): cut at the ends of sentences, otherwise at commas or between words, with time in
 * proportion to the length of the text.
 */

/** @typedef {{ start: number, end: number, speaker: string | null, text: string }} Cue times in seconds */
/** @typedef {{ lineWidth: number, lineCount: number, seconds: number }} Limits of a cue; 0 means none */

const MIN_SECONDS = 0.1;
const MIN_WIDTH = 20;
const LONGEST_CUE = 20;
const SPLIT_SHARE = 1 / 3;
const SENTENCE_END = /[.!?…。！？]+["'”’)\]」』]*(?=\s|$)|[。！？]+[」』”’）]*/g;
const CLAUSE_END = /[,;:–—](?=\s)|[，、；：]/g;
const WORD_END = /\s+/g;
const WIDE =
  /[\u1100-\u115f\u231a\u231b\u2329\u232a\u23e9-\u23ec\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u;

/**
 * @param {readonly Cue[]} segments
 * @param {Limits} limits
 */
export function srt(segments, limits) {
  return arranged(segments, limits, (name) => `${name}: `)
    .map((cue, index) => `${index + 1}\n${time(cue.start, ",")} --> ${time(cue.end, ",")}\n${cue.text}\n`)
    .join("\n");
}

/**
 * @param {readonly Cue[]} segments
 * @param {Limits} limits
 */
export function vtt(segments, limits) {
  const cues = arranged(segments, limits, () => "").map((cue) => {
    const voice = cue.speaker === null ? "" : `<v ${escaped(cue.speaker)}>`;
    return `${time(cue.start, ".")} --> ${time(cue.end, ".")}\n${voice}${escaped(cue.text)}\n`;
  });
  return ["WEBVTT\n", ...cues].join("\n");
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * @param {readonly Cue[]} segments
 * @param {Limits} limits
 * @param {(name: string) => string} label
 */
function arranged(segments, limits, label) {
  const speakers = new Set(segments.map((segment) => segment.speaker).filter((speaker) => speaker !== null));
  const cues = segments.flatMap((segment) => {
    const speaker = speakers.size > 1 ? segment.speaker : null;
    return split({ ...segment, speaker }, limits, speaker ? label(speaker) : "");
  });
  return inTime(cues.sort((a, b) => a.start - b.start || a.end - b.end));
}

/**
 * @param {Cue} segment
 * @param {Limits} limits
 * @param {string} prefix
 */
function split(segment, limits, prefix) {
  const text = segment.text.split(/\s+/).filter(Boolean).join(" ");
  const seconds = Math.max(segment.end - segment.start, 0);
  const tooLong = limits.seconds > 0 && seconds > limits.seconds;
  const most = tooLong ? Math.max(MIN_WIDTH, Math.floor((width(text) * limits.seconds) / seconds)) : 0;
  const parts = partsOf(text, limits, prefix, most);
  const total = parts.reduce((sum, part) => sum + width(part), 0) || 1;
  let position = 0;
  return parts.map((part) => {
    const start = segment.start + (seconds * position) / total;
    position += width(part);
    let end = segment.start + (seconds * position) / total;
    if (limits.seconds) end = Math.min(end, start + limits.seconds);
    return { ...segment, start, end, text: wrapped(prefix + part, limits.lineWidth).join("\n") };
  });
}

/**
 * @param {string} text
 * @param {Limits} limits
 * @param {string} prefix
 * @param {number} most columns of a cue; 0 for any
 */
function partsOf(text, limits, prefix, most) {
  const parts = [];
  while (text) {
    let end = fitting(text, limits, prefix, most);
    if (end < text.length) end = bestEnd(text, end);
    parts.push(text.slice(0, end).trim());
    text = text.slice(end).trim();
  }
  return parts;
}

/**
 * Length of the text that fits into one cue, up to the end of a word if possible.
 * @param {string} text
 * @param {Limits} limits
 * @param {string} prefix
 * @param {number} most
 */
function fitting(text, limits, prefix, most) {
  /** @param {number} end */
  const fits = (end) => {
    const part = text.slice(0, end).trimEnd();
    if (most && width(part) > most) return false;
    if (!limits.lineCount || !limits.lineWidth) return true;
    return wrapped(prefix + part, limits.lineWidth).length <= limits.lineCount;
  };
  const whole = text.length;
  text = text.slice(0, LONGEST_CUE * Math.max(1, (limits.lineWidth || 100) * (limits.lineCount || 1)));
  if (text.length === whole && fits(whole)) return whole;
  const ends = Array.from(text.matchAll(WORD_END), (match) => match.index);
  const wordEnd = lastThat(ends, fits);
  if (wordEnd !== undefined) return wordEnd;
  const firstWord = ends[0] ?? text.length;
  const room = limits.lineWidth ? limits.lineWidth - width(prefix) : text.length;
  const word = text.slice(0, firstWord);
  if (!WIDE.test([...word][0] ?? "") && width(word) <= room) return firstWord; // never cut a word that fits into a line
  const characters = [...word];
  let position = 0;
  const positions = characters.map((character) => (position += character.length));
  return lastThat(positions, fits) ?? characters[0]?.length ?? 1;
}

/**
 * Binary search for the last end that fits.
 * @param {number[]} ends
 * @param {(end: number) => boolean} fits
 */
function lastThat(ends, fits) {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (fits(ends[middle] ?? 0)) low = middle + 1;
    else high = middle;
  }
  return ends[low - 1];
}

/**
 * @param {string} text
 * @param {number} end
 */
function bestEnd(text, end) {
  for (const pattern of [SENTENCE_END, CLAUSE_END]) {
    const ends = Array.from(text.slice(0, end + 1).matchAll(pattern), (match) => match.index + match[0].length);
    const best = ends.filter((found) => SPLIT_SHARE * end <= found && found <= end).pop();
    if (best !== undefined) return best;
  }
  return end;
}

/**
 * Wraps to lines of at most `most` columns, between words or wide characters. Longer words are cut.
 * @param {string} text
 * @param {number} most 0 for one line
 */
function wrapped(text, most) {
  if (!most || width(text) <= most) return [text];
  const lines = [];
  let [line, columns, lastSpace] = ["", 0, -1];
  for (const character of text) {
    const isWide = WIDE.test(character);
    const size = isWide ? 2 : 1;
    if (columns + size > most && line) {
      if (character === " ") {
        lines.push(line);
        [line, columns, lastSpace] = ["", 0, -1];
        continue;
      }
      if (lastSpace > 0 && !isWide) {
        lines.push(line.slice(0, lastSpace));
        line = line.slice(lastSpace + 1);
      } else {
        lines.push(line.trimEnd());
        line = "";
      }
      [columns, lastSpace] = [width(line), -1];
    }
    if (character === " ") lastSpace = line.length;
    line += character;
    columns += size;
  }
  return line ? [...lines, line] : lines;
}

/**
 * Gives each cue a minimum length and ends it where the next one starts, if possible.
 * @param {Cue[]} cues
 */
function inTime(cues) {
  return cues.map((cue, index) => {
    const start = rounded(cue.start);
    let end = Math.max(rounded(cue.end), start + MIN_SECONDS);
    const next = cues[index + 1];
    const following = next ? rounded(next.start) : end;
    if (start + MIN_SECONDS <= following && following < end) end = following;
    return { ...cue, start, end };
  });
}

/** @param {number} seconds */
function rounded(seconds) {
  return Math.round(seconds * 1000) / 1000;
}

/** @param {string} text */
function width(text) {
  let columns = 0;
  for (const character of text) columns += WIDE.test(character) ? 2 : 1;
  return columns;
}

/**
 * @param {number} seconds
 * @param {string} decimalMark
 */
function time(seconds, decimalMark) {
  const all = Math.round(seconds * 1000);
  const [hours, minutes, whole] = [
    Math.floor(all / 3_600_000),
    Math.floor(all / 60_000) % 60,
    Math.floor(all / 1000) % 60,
  ];
  const clock = [hours, minutes, whole].map((part) => String(part).padStart(2, "0")).join(":");
  return `${clock}${decimalMark}${String(all % 1000).padStart(3, "0")}`;
}

/** Finds the speakers of a script. Only a preview: the server decides what it reads as a label. */

/** Limit of the API. */
const MAX_SPEAKERS = 4;
const NUMBERED = /^\s*\[?((?:speaker|s)[ _]?\d{1,2})\]?\s*[:：]/i;
const NAMED = /^\s*(\p{Lu}[\p{L}\p{M}\p{N}.'’-]*(?: \p{Lu}[\p{L}\p{M}\p{N}.'’-]*){0,2})\s*[:：]/u;

/**
 * The speakers of a script in order of appearance; empty if the text is not a script. Names count if at least two
 * lines begin with one, because a single `Note:` may be part of a sentence.
 * @param {string} text
 * @returns {string[]}
 */
export function speakersIn(text) {
  const found = text.split("\n").flatMap((line) => {
    const label = (NUMBERED.exec(line) ?? NAMED.exec(line))?.[1];
    return label ? [label] : [];
  });
  const speakers = [...new Set(found)].slice(0, MAX_SPEAKERS);
  return found.length > 1 || NUMBERED.test(text) ? speakers : [];
}

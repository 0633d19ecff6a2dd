/** Scripts: which speakers a text names at the beginnings of its lines. The server decides what is read as a label. */

/** As many as the API takes. */
const MAX_SPEAKERS = 4;
const NUMBERED = /^\s*\[?((?:speaker|s)[ _]?\d{1,2})\]?\s*[:：]/i;
const NAMED = /^\s*(\p{Lu}[\p{L}\p{M}\p{N}.'’-]*(?: \p{Lu}[\p{L}\p{M}\p{N}.'’-]*){0,2})\s*[:：]/u;

/**
 * The speakers of a script in order of appearance; none where the text is no script. A name counts where two lines have
 * it or another speaker's name stands at a line as well, since one alone may be a sentence.
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

/** The list of segments: play, edit and search with the mouse or the keyboard. */

import { button, el } from "./dom.js";
import { clock } from "./transcript.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */
/** @typedef {import("./transcript.js").Segment} Segment */
/** @typedef {{ row: HTMLElement, time: HTMLElement, name: HTMLElement, text: HTMLElement, edit: HTMLElement }} Row */

const FOUND = "found";

export class SegmentList {
  /** @type {Row[]} */
  #rows = [];
  /** Index of the row with the keyboard focus; Tab stops only there. */
  #current = 0;
  #playing = -1;

  /**
   * @param {Transcript} transcript
   * @param {(seconds: number) => void} onPlay
   * @param {() => void} onToggle plays on or pauses
   */
  constructor(transcript, onPlay, onToggle) {
    this.transcript = transcript;
    this.onPlay = onPlay;
    this.onToggle = onToggle;
    this.element = el("ol", { class: "segments", "aria-label": "Transcript" });
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.element.addEventListener("focusin", (event) => this.#moveTo(this.#indexOf(event.target)));
  }

  /** Adds rows for new segments. */
  add() {
    const fresh = this.transcript.segments.slice(this.#rows.length).map((segment) => this.#row(segment));
    this.#rows.push(...fresh);
    this.element.append(...fresh.map(({ row }) => row));
    this.#label(this.#rows.length - fresh.length);
    this.#moveTo(this.#current);
  }

  /** Updates the names of all rows. */
  rename() {
    this.#label(0);
  }

  /**
   * Marks the segment that is playing.
   * @param {number} seconds
   * @param {boolean} follow whether to scroll to it
   */
  mark(seconds, follow) {
    const index = this.transcript.indexAt(seconds);
    if (index === this.#playing) return;
    this.#rows[this.#playing]?.row.removeAttribute("aria-current");
    this.#playing = index;
    const row = this.#rows[index]?.row;
    row?.setAttribute("aria-current", "true");
    if (follow) row?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  /**
   * Highlights a text without changing the rows. Returns the indexes of the segments that contain it.
   * @param {string} text
   */
  highlight(text) {
    CSS.highlights?.delete(FOUND);
    const found = this.transcript.find(text);
    if (found.length > 0)
      CSS.highlights?.set(FOUND, new Highlight(...found.flatMap((index) => this.#ranges(index, text))));
    return found;
  }

  /**
   * Scrolls to a segment and makes it the current row.
   * @param {number} index
   */
  show(index) {
    this.#moveTo(index);
    this.#rows[index]?.row.scrollIntoView({ block: "center" });
  }

  /**
   * @param {Segment} segment
   * @returns {Row}
   */
  #row(segment) {
    const play = () => this.onPlay(segment.start);
    const time = button(clock(segment.start), play, { class: "time", tabindex: -1 });
    const name = el("bdi", { class: "name" });
    const text = el("p", { class: "text", dir: "auto", onclick: () => text.isContentEditable || play() }, segment.text);
    const startEdit = () => makeEditable(segment, text, () => time.focus());
    text.addEventListener("dblclick", startEdit);
    const edit = button("Edit", startEdit, { icon: "edit", iconOnly: true, class: "quiet edit", tabindex: -1 });
    const row = el("li", { class: "segment" }, time, el("div", {}, name, text), edit);
    return { row, time, name, text, edit };
  }

  /** @param {number} from */
  #label(from) {
    const { segments } = this.transcript;
    for (let index = from; index < this.#rows.length; index += 1) {
      const segment = segments[index];
      const row = this.#rows[index];
      if (!segment || !row) continue;
      const speaker = this.transcript.nameOf(segment);
      const before = segments[index - 1];
      const goesOn = before !== undefined && this.transcript.nameOf(before) === speaker;
      const color = segment.speaker === null ? "nobody" : `speaker-${this.transcript.color(segment.speaker)}`;
      row.row.className = `segment ${color}${goesOn ? " same" : ""}`;
      row.name.textContent = goesOn ? "" : speaker;
      row.time.setAttribute("aria-label", `Play from ${clock(segment.start)}${speaker ? `, ${speaker}` : ""}`);
    }
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.target instanceof HTMLElement && event.target.isContentEditable) return;
    const keys = /** @type {Record<string, () => void>} */ ({
      ArrowDown: () => this.#focus(this.#current + 1),
      ArrowUp: () => this.#focus(this.#current - 1),
      PageDown: () => this.#focus(this.#current + 10),
      PageUp: () => this.#focus(this.#current - 10),
      Home: () => this.#focus(0),
      End: () => this.#focus(this.#rows.length - 1),
      " ": () => this.onToggle(),
      e: () => this.#rows[this.#current]?.edit.click(),
    });
    const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** @param {number} index */
  #focus(index) {
    this.#moveTo(Math.max(0, Math.min(index, this.#rows.length - 1)));
    this.#rows[this.#current]?.time.focus();
  }

  /** @param {number} index */
  #moveTo(index) {
    for (const [at, stop] of /** @type {[number, number][]} */ ([
      [this.#current, -1],
      [index, 0],
    ])) {
      this.#rows[at]?.time.setAttribute("tabindex", String(stop));
      this.#rows[at]?.edit.setAttribute("tabindex", String(stop));
    }
    this.#current = index;
  }

  /** @param {EventTarget | null} target */
  #indexOf(target) {
    const row = target instanceof Element ? target.closest("li") : null;
    const index = this.#rows.findIndex((one) => one.row === row);
    return index < 0 ? this.#current : index;
  }

  /**
   * @param {number} index
   * @param {string} wanted
   */
  #ranges(index, wanted) {
    const node = this.#rows[index]?.text.firstChild;
    const ranges = [];
    const { length } = node?.textContent ?? "";
    const text = node?.textContent?.toLowerCase() ?? "";
    for (
      let at = text.indexOf(wanted.toLowerCase());
      node && at >= 0 && at < length; // "İ" grows in lower case
      at = text.indexOf(wanted.toLowerCase(), at + 1)
    ) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, Math.min(at + wanted.length, length));
      ranges.push(range);
    }
    return ranges;
  }
}

/**
 * Makes a segment editable. Enter keeps the changes, Escape discards them.
 * @param {Segment} segment
 * @param {HTMLElement} text
 * @param {() => void} onEnd
 */
function makeEditable(segment, text, onEnd) {
  if (text.isContentEditable) return;
  const editing = new AbortController();
  /** @param {boolean} isKept */
  const end = (isKept) => {
    editing.abort();
    if (isKept) segment.text = (text.textContent ?? "").split(/\s+/).filter(Boolean).join(" ");
    text.textContent = segment.text;
    for (const name of ["contenteditable", "role", "aria-label"]) text.removeAttribute(name);
  };
  text.setAttribute("contenteditable", "plaintext-only");
  text.setAttribute("role", "textbox");
  text.setAttribute("aria-label", "Text of the segment");
  text.addEventListener("blur", () => end(true), { signal: editing.signal });
  text.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      end(event.key === "Enter");
      onEnd();
    },
    { signal: editing.signal },
  );
  text.focus();
}

/** The speakers of a transcript: rename and merge them. */

import { el } from "./dom.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */

export class SpeakerBar {
  /**
   * @param {Transcript} transcript
   * @param {(isMerged: boolean) => void} onChange called after a rename or a merge
   */
  constructor(transcript, onChange) {
    this.transcript = transcript;
    this.onChange = onChange;
    this.element = el("div", { class: "speakers", role: "group", "aria-label": "Speakers" });
  }

  /** Updates the list, unless the user is typing in it. */
  update() {
    if (this.element.contains(document.activeElement)) return;
    const { speakers } = this.transcript;
    const total = speakers.reduce((sum, speaker) => sum + speaker.seconds, 0) || 1;
    this.element.replaceChildren(
      ...speakers.map((speaker) => this.#chip(speaker, Math.round((100 * speaker.seconds) / total))),
    );
    this.element.hidden = speakers.length === 0;
  }

  /**
   * @param {import("./transcript.js").Speaker} speaker
   * @param {number} share percent of the speaking time
   */
  #chip(speaker, share) {
    const name = el("input", {
      "aria-label": `Name of speaker ${speaker.label}`,
      value: speaker.name,
      maxlength: 200,
      spellcheck: "false",
      autocomplete: "off",
      oninput: () => {
        this.transcript.rename(speaker.label, name.value);
        this.onChange(false);
      },
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === "Enter") name.blur();
      },
      onblur: () => setTimeout(() => this.update()),
    });
    const others = this.transcript.speakers.filter(({ label }) => label !== speaker.label);
    return el(
      "span",
      { class: `chip speaker-${speaker.color}` },
      el("span", { class: "dot" }),
      name,
      el("span", { class: "share" }, `${share} %`),
      others.length > 0 && this.#mergeMenu(speaker, others),
    );
  }

  /**
   * @param {import("./transcript.js").Speaker} speaker
   * @param {import("./transcript.js").Speaker[]} others
   */
  #mergeMenu(speaker, others) {
    const menu = el(
      "select",
      {
        "aria-label": `Merge ${speaker.name} into another speaker`,
        title: "Merge",
        onchange: () => {
          this.transcript.merge(speaker.label, menu.value);
          menu.blur();
          this.update();
          this.onChange(true);
        },
      },
      el("option", { value: "", hidden: true }, ""),
      el(
        "optgroup",
        { label: `${speaker.name} is the same person as` },
        ...others.map(({ label, name }) => el("option", { value: label }, name)),
      ),
    );
    return menu;
  }
}

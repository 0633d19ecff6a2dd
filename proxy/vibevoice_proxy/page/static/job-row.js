/** A row in the list of recordings: opens the recording, shows its progress, and cancels, repeats or removes it. */

import { button, el } from "./dom.js";

/** @typedef {import("./job.js").Job} Job */
/** @typedef {{ cancel: () => void, retry: () => void, remove: () => void }} Actions */

export class JobRow {
  #state = el("span");
  #progress = el("progress", { max: 1, "aria-label": "Progress" });

  /**
   * @param {Job} job
   * @param {() => void} onOpen
   * @param {Actions} actions
   */
  constructor(job, onOpen, { cancel, retry, remove }) {
    this.job = job;
    const name = el("bdi", { class: "file" }, job.file.name);
    this.open = el("button", { type: "button", class: "job", onclick: onOpen }, name, this.#state, this.#progress);
    this.cancel = this.#action("Cancel", "stop", cancel);
    this.retry = this.#action("Try again", "retry", retry);
    this.element = el("li", {}, this.open, this.cancel, this.retry, this.#action("Remove", "close", remove));
  }

  /** @param {boolean} isSelected */
  update(isSelected) {
    const { state, progress, sent, isRunning, isDone, isIncomplete } = this.job;
    if (isSelected) this.open.setAttribute("aria-current", "true");
    else this.open.removeAttribute("aria-current");
    this.#state.className = `state ${isIncomplete ? "incomplete" : state}`;
    this.#state.textContent = progress;
    this.#progress.hidden = state !== "running";
    if (sent < 1) this.#progress.value = sent;
    else this.#progress.removeAttribute("value");
    const actions = [this.cancel, this.retry];
    const focused = actions.find((action) => action === document.activeElement);
    this.cancel.hidden = !isRunning;
    this.retry.hidden = isRunning || isDone;
    if (focused?.hidden) (actions.find(({ hidden }) => !hidden) ?? this.open).focus();
  }

  /**
   * @param {string} label
   * @param {string} icon
   * @param {() => void} act
   */
  #action(label, icon, act) {
    return button(label, act, {
      icon,
      iconOnly: true,
      class: "quiet",
      "aria-label": `${label}: ${this.job.file.name}`,
    });
  }
}

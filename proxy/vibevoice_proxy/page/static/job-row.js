/** A row in the list of recordings: opens the recording, shows its progress, and has one action. */

import { button, el } from "./dom.js";

/** @typedef {import("./job.js").Job} Job */
/** @typedef {"cancel" | "remove" | "retry"} Action */

/** @type {Record<Action, { label: string, icon: string }>} */
const ACTIONS = {
  cancel: { label: "Cancel", icon: "close" },
  remove: { label: "Remove", icon: "close" },
  retry: { label: "Try again", icon: "retry" },
};

export class JobRow {
  #state = el("span");
  #progress = el("progress", { max: 1, "aria-label": "Progress" });
  /** @type {Action} */
  #action = "cancel";

  /**
   * @param {Job} job
   * @param {() => void} onOpen
   * @param {Record<Action, () => void>} actions
   */
  constructor(job, onOpen, actions) {
    this.job = job;
    this.actions = actions;
    const name = el("bdi", { class: "file" }, job.file.name);
    this.open = el("button", { type: "button", class: "job", onclick: onOpen }, name, this.#state, this.#progress);
    this.act = this.#button();
    this.element = el("li", {}, this.open, this.act);
  }

  /** @param {boolean} isSelected */
  update(isSelected) {
    const { state, progress, sent, isRunning, isDone } = this.job;
    if (isSelected) this.open.setAttribute("aria-current", "true");
    else this.open.removeAttribute("aria-current");
    this.#state.className = `state ${state}`;
    this.#state.textContent = progress;
    this.#progress.hidden = state !== "running";
    if (sent < 1) this.#progress.value = sent;
    else this.#progress.removeAttribute("value");
    this.#show(isRunning ? "cancel" : isDone ? "remove" : "retry");
  }

  /** @param {Action} action */
  #show(action) {
    if (action === this.#action) return;
    this.#action = action;
    const hadFocus = this.act === document.activeElement;
    const act = this.#button();
    this.act.replaceWith(act);
    this.act = act;
    if (hadFocus) act.focus();
  }

  #button() {
    const { label, icon } = ACTIONS[this.#action];
    return button(label, this.actions[this.#action], { icon, iconOnly: true, class: "quiet" });
  }
}

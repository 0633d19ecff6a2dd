/** The Live view: live captions from the microphone. */

import { button, el } from "./dom.js";
import { exportControls } from "./export.js";
import { Microphone } from "./microphone.js";
import { clientSecret, RealtimeSession } from "./realtime.js";
import { whyNoMicrophone } from "./recorder.js";
import { SpeakerBar } from "./speakers.js";
import { clock, Transcript } from "./transcript.js";

const LIMITS = { lineWidth: 42, lineCount: 2, seconds: 7 };
/** Scroll to new captions only if the page is within this many pixels of its end. */
const NEAR_END = 200;

export class LiveView {
  title = "Live";
  #microphone = new Microphone();
  /** @type {RealtimeSession | null} */
  #session = null;
  #transcript = new Transcript();
  #speakers = new SpeakerBar(this.#transcript, () => this.#label(0));
  /** @type {{ row: HTMLElement, name: HTMLElement }[]} */
  #rows = [];
  #isConnecting = false;
  #start = button("Start", () => this.#toggle(), { icon: "microphone", class: "primary" });
  #level = el("meter", { min: 0, max: 1, high: 0.95, value: 0, "aria-label": "Level of the microphone" });
  #status = el("p", { class: "soft", role: "status" });
  #alert = el("p", { class: "note", role: "alert", hidden: true });
  #missing = el("p", { class: "note", role: "status", hidden: true });
  #captions = el("ol", { class: "segments captions" });
  #pending = el("p", { class: "pending", dir: "auto" });
  #after = el("div", { class: "stack" });

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.element = el(
      "div",
      { class: "live panel stack" },
      el("div", { class: "actions" }, this.#start, this.#level, this.#status),
      this.#alert,
      this.#missing,
      this.#after,
      el("div", { role: "log", "aria-label": "Captions" }, this.#captions),
      this.#pending,
    );
    this.#say("Press Start and speak. Captions appear here with their speakers. Nothing is stored.");
    window.addEventListener("beforeunload", (event) => {
      if (this.#transcript.segments.length > 0) event.preventDefault(); // ask before closing
    });
  }

  async show() {
    const why = whyNoMicrophone();
    if (!why) return;
    this.#start.disabled = true;
    this.#fail(why);
  }

  hide() {
    this.#stop();
  }

  /** The button is not disabled while the page connects, because it would lose the focus. */
  async #toggle() {
    if (this.#session) this.#stop();
    if (this.#session || this.#isConnecting) return;
    this.#isConnecting = true;
    await this.#begin();
    this.#isConnecting = false;
  }

  async #begin() {
    const hasText = this.#transcript.segments.length > 0;
    if (hasText && !confirm("Start a new transcript? The current one and its names will be discarded.")) return;
    this.#alert.hidden = true;
    this.#say("Connecting…");
    let secret = "";
    try {
      secret = await clientSecret(this.api);
      await this.#microphone.open((samples, level) => {
        this.#level.value = level;
        this.#session?.append(samples);
      });
    } catch (error) {
      this.#microphone.close();
      this.#fail(/** @type {Error} */ (error).message);
      return;
    }
    if (!this.element.isConnected) {
      // the user has switched to another view
      this.#closed();
      return;
    }
    this.#clear();
    this.#session = new RealtimeSession(this.api.base, secret, {
      onReady: () => {
        this.#say("Listening…");
        this.#setRunning(true);
      },
      onSegment: (segment) => this.#add(segment),
      onMissing: (part) => {
        this.#transcript.missing.push(part);
        this.#showMissing();
      },
      onPending: (text) => {
        this.#pending.textContent = text;
        this.#follow();
      },
      onSpeech: (isSpeaking) => this.#say(isSpeaking ? "Speech detected…" : "Listening…"),
      onError: (message) => this.#fail(message),
      onClose: () => this.#closed(),
    });
  }

  #stop() {
    if (!this.#session) return;
    this.#microphone.close();
    this.#say("Finishing…");
    this.#session.end();
  }

  #closed() {
    this.#microphone.close();
    this.#session = null;
    this.#setRunning(false);
    this.#pending.textContent = "";
    this.#say(this.#transcript.segments.length > 0 ? "Stopped." : "");
  }

  /** @param {boolean} isRunning */
  #setRunning(isRunning) {
    this.#start.lastChild?.replaceWith(isRunning ? "Stop" : "Start");
    this.#start.classList.toggle("recording", isRunning);
    this.#start.classList.toggle("primary", !isRunning);
    if (!isRunning) this.#level.value = 0;
  }

  #clear() {
    this.#transcript = new Transcript();
    this.#speakers = new SpeakerBar(this.#transcript, () => this.#label(0));
    this.#rows = [];
    this.#captions.replaceChildren();
    const name = `Live ${new Date().toLocaleString()}`;
    const controls = exportControls(
      this.#transcript,
      name,
      () => LIMITS,
      (said) => this.#say(said),
    );
    const toolbar = el("div", { class: "toolbar" }, el("span", { class: "spacer" }), ...controls);
    this.#after.replaceChildren(this.#speakers.element, toolbar);
    this.#after.hidden = true;
    this.#showMissing();
  }

  #showMissing() {
    this.#missing.textContent = this.#transcript.missingNote;
    this.#missing.hidden = !this.#missing.textContent;
  }

  /** @param {import("./realtime.js").Segment} segment */
  #add(segment) {
    this.#alert.hidden = true;
    const added = this.#transcript.add(segment);
    const name = el("bdi", { class: "name" });
    const text = el("p", { class: "text", dir: "auto" }, added.text);
    const row = el("li", {}, el("span", { class: "time" }, clock(added.start)), el("div", {}, name, text));
    this.#rows.push({ row, name });
    this.#captions.append(row);
    this.#label(this.#rows.length - 1);
    this.#speakers.update();
    this.#after.hidden = false;
    this.#follow();
  }

  /**
   * Updates the names and colors of the rows.
   * @param {number} from number of the first row
   */
  #label(from) {
    for (const [index, { row, name }] of this.#rows.entries()) {
      const segment = this.#transcript.segments[index];
      if (!segment || index < from) continue;
      const goesOn = this.#transcript.segments[index - 1]?.speaker === segment.speaker;
      const color = segment.speaker === null ? "" : `speaker-${this.#transcript.color(segment.speaker)}`;
      row.className = `segment ${color}${goesOn ? " same" : ""}`;
      name.textContent = goesOn ? "" : this.#transcript.nameOf(segment);
    }
  }

  #follow() {
    const page = document.documentElement;
    if (page.scrollHeight - window.scrollY - window.innerHeight < NEAR_END) window.scrollTo({ top: page.scrollHeight });
  }

  /** @param {string} text */
  #say(text) {
    this.#status.textContent = text;
  }

  /** @param {string} message */
  #fail(message) {
    this.#say("");
    this.#alert.textContent = message;
    this.#alert.hidden = false;
  }
}

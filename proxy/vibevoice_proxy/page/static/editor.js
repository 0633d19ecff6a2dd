/** One recording: player, speakers and an editable transcript. */

import { button, el } from "./dom.js";
import { exportControls } from "./export.js";
import { peaksOf } from "./peaks.js";
import { durationOf } from "./recorder.js";
import { SegmentList } from "./segments.js";
import { SpeakerBar } from "./speakers.js";
import { clock } from "./transcript.js";
import { Waveform } from "./waveform.js";

/** @typedef {import("./job.js").Job} Job */

/** Seconds that an arrow key seeks. */
const STEP = 5;
const CANNOT_DRAW = "The waveform could not be loaded. Playback is not affected.";
const CANNOT_PLAY = "Your browser cannot play this file.";

export class Editor {
  #closing = new AbortController();
  #audio = el("audio", { preload: "metadata" });
  #wave = el("div", { class: "waveform", "aria-hidden": "true" });
  #slider = el("div", { class: "slider", role: "slider", tabindex: 0, "aria-label": "Position", "aria-valuemin": 0 });
  #play = button("Play", () => this.#toggle(), { icon: "play", iconOnly: true, class: "round" });
  #zoom = button("Zoom in", () => this.#toggleZoom(), { icon: "zoom", iconOnly: true, class: "quiet", hidden: true });
  #time = el("span", { class: "clock" });
  #note = el("p", { class: "note", role: "alert", hidden: true });
  #player = el("div", { class: "player" });
  #silent = el("p", { class: "soft", hidden: true }, CANNOT_PLAY);
  #status = el("p", { class: "progress-note", role: "status" });
  #search = el("input", { type: "search", placeholder: "Search", "aria-label": "Search the transcript" });
  #hits = el("span", { class: "hits", role: "status" });
  #follow = el("input", { type: "checkbox", checked: true });
  #toolbar = el("div", { class: "toolbar" });
  #hit = -1;
  #url = "";

  /**
   * @param {Job} job
   * @param {() => import("./subtitles.js").Limits} limits of subtitles, as the user has set them
   */
  constructor(job, limits) {
    this.job = job;
    this.limits = limits;
    this.list = new SegmentList(
      job.transcript,
      (seconds) => this.#playFrom(seconds),
      () => this.#toggle(),
    );
    this.speakers = new SpeakerBar(job.transcript, (isMerged) => {
      this.list.rename();
      if (isMerged) this.waveform.redraw(job.transcript);
    });
    this.waveform = new Waveform(this.#wave, this.#audio);
    this.element = this.#layout();
    this.#url = URL.createObjectURL(job.file);
    this.#audio.src = this.#url;
    this.#listen();
    this.update();
    void this.#draw();
  }

  /** Updates the view from the job. */
  update() {
    this.list.add();
    this.speakers.update();
    this.waveform.add(this.job.transcript);
    this.#status.textContent = this.job.isRunning ? this.job.stage : "";
    this.#note.textContent = this.job.error || this.job.transcript.missingNote;
    this.#note.hidden = !this.#note.textContent;
    const isEmpty = this.job.transcript.segments.length === 0;
    this.#toolbar.hidden = isEmpty;
    const isSilent = isEmpty && this.job.isDone && this.#note.hidden;
    if (isSilent) this.#status.textContent = "No speech was found in this recording.";
  }

  /** Stops playback and releases the recording. */
  close() {
    this.#closing.abort();
    this.#audio.pause();
    this.waveform.destroy();
    this.list.highlight("");
    URL.revokeObjectURL(this.#url);
  }

  #layout() {
    this.#slider.append(this.#wave);
    this.#player.append(this.#play, this.#slider, el("div", { class: "times" }, this.#time, this.#zoom));
    this.#toolbar.append(
      el("div", { class: "search" }, this.#search, this.#hits),
      el("label", { class: "check" }, this.#follow, "Follow"),
      el("span", { class: "spacer" }),
      ...exportControls(this.job.transcript, this.job.file.name.replace(/\.[^.]*$/, ""), this.limits, (said) => {
        this.#status.textContent = said;
      }),
    );
    return el(
      "article",
      { class: "editor", "aria-label": this.job.file.name },
      this.#player,
      this.speakers.element,
      this.#toolbar,
      this.#note,
      this.#silent,
      this.list.element,
      this.#status,
      this.job.credit && el("small", {}, this.job.credit),
    );
  }

  #listen() {
    const { signal } = this.#closing;
    for (const name of ["play", "pause", "ended"]) {
      this.#audio.addEventListener(name, () => this.#showPlaying(), { signal });
    }
    for (const name of ["timeupdate", "seeking", "durationchange"]) {
      this.#audio.addEventListener(name, () => this.#showTime(), { signal });
    }
    this.#slider.addEventListener("keydown", (event) => this.#onKey(event), { signal });
    this.#search.addEventListener("input", () => this.#find(0), { signal });
    this.#search.addEventListener(
      "keydown",
      (event) => {
        if (event.key === "Enter") this.#find(event.shiftKey ? -1 : 1);
      },
      { signal },
    );
  }

  async #draw() {
    const { signal } = this.#closing;
    const duration = await durationOf(this.#audio);
    if (signal.aborted) return;
    const { transcript } = this.job;
    transcript.duration = Math.max(transcript.duration, duration);
    this.#showTime();
    if (duration === 0) {
      this.#player.hidden = true;
      this.#silent.hidden = false;
      return;
    }
    const peaks = await peaksOf(this.job.file, duration, signal);
    if (signal.aborted) return;
    try {
      await this.waveform.show(peaks ?? new Float32Array(2), duration);
    } catch {
      this.#silent.textContent = CANNOT_DRAW;
      this.#silent.hidden = false;
      return;
    }
    this.#zoom.hidden = false;
    this.waveform.add(transcript);
  }

  /** @param {number} seconds */
  #playFrom(seconds) {
    this.#audio.currentTime = seconds;
    void this.#audio.play().catch(() => undefined); // CANNOT_PLAY is shown
  }

  #toggle() {
    if (this.#audio.paused) void this.#audio.play().catch(() => undefined);
    else this.#audio.pause();
  }

  #toggleZoom() {
    const label = this.waveform.toggleZoom() ? "Zoom out" : "Zoom in";
    this.#zoom.setAttribute("aria-label", label);
    this.#zoom.title = label;
  }

  #showPlaying() {
    const label = this.#audio.paused ? "Play" : "Pause";
    this.#play.setAttribute("aria-label", label);
    this.#play.title = label;
    this.#play.querySelector("use")?.setAttribute("href", `#icon-${label.toLowerCase()}`);
  }

  #showTime() {
    const { currentTime } = this.#audio;
    const { duration } = this.job.transcript;
    this.#time.textContent = `${clock(currentTime)} / ${clock(duration)}`;
    this.#slider.setAttribute("aria-valuemax", String(Math.round(duration)));
    this.#slider.setAttribute("aria-valuenow", String(Math.round(currentTime)));
    this.#slider.setAttribute("aria-valuetext", `${clock(currentTime)} of ${clock(duration)}`);
    if (currentTime > 0 || !this.#audio.paused)
      this.list.mark(currentTime, this.#follow.checked && !this.#audio.paused);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const { currentTime } = this.#audio;
    const { duration } = this.job.transcript;
    const times = /** @type {Record<string, number>} */ ({
      ArrowLeft: currentTime - STEP,
      ArrowRight: currentTime + STEP,
      PageDown: currentTime - duration / 10,
      PageUp: currentTime + duration / 10,
      Home: 0,
      End: duration,
    });
    const time = times[event.key];
    if (event.key === " ") this.#toggle();
    else if (time !== undefined) this.#audio.currentTime = Math.max(0, Math.min(time, duration));
    else return;
    event.preventDefault();
  }

  /**
   * Highlights the search results and moves to one of them.
   * @param {number} step 0 for the first result, 1 for the next, -1 for the previous
   */
  #find(step) {
    const found = this.list.highlight(this.#search.value);
    this.#hit = found.length > 0 && step !== 0 ? (this.#hit + step + found.length) % found.length : 0;
    const index = found[this.#hit];
    this.#hits.textContent = this.#search.value ? `${index === undefined ? 0 : this.#hit + 1} of ${found.length}` : "";
    if (index !== undefined) this.list.show(index);
  }
}

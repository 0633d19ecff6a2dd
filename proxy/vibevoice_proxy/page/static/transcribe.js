/** The Transcribe view: a list of recordings and the transcript of one of them. */

import { received } from "./api.js";
import { button, el, icon } from "./dom.js";
import { Editor } from "./editor.js";
import { Job } from "./job.js";
import { JobRow } from "./job-row.js";
import { Options } from "./options.js";
import { RecordButton } from "./record-button.js";

/** Recordings uploaded at the same time. The others wait, so that one page does not fill the server's queue. */
const AT_ONCE = 2;
const SAMPLE_CREDIT =
  "The sample alternates Asterisk's core sounds, by Allison Smith (CC BY-SA 3.0), and a LibriVox recording of Sense and " +
  "Sensibility (public domain); trimmed, made equally loud and joined. CC BY-SA 3.0.";

export class TranscribeView {
  title = "Transcribe";
  /** @type {Job[]} */
  #jobs = [];
  /** @type {Map<Job, JobRow>} */
  #rows = new Map();
  /** @type {Job | null} */
  #selected = null;
  /** @type {Editor | null} */
  #editor = null;
  #options = new Options();
  #isDrawing = false;
  #input = el("input", { type: "file", multiple: true, accept: "audio/*,video/*", hidden: true });
  #record = new RecordButton(
    (file) => this.#add([file]),
    (message) => this.#warn(message),
  );
  #jobList = el("ul", { class: "jobs", "aria-label": "Recordings" });
  #place = el("div", { class: "place" });
  #alert = el("p", { class: "note", role: "alert", hidden: true });
  #said = el("p", { class: "visually-hidden", role: "status" });
  #choose = button("Choose files", () => this.#input.click(), { class: "primary" });

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.#input.addEventListener("change", () => {
      this.#add([...(this.#input.files ?? [])]);
      this.#input.value = "";
    });
    const drop = el(
      "div",
      { class: "drop" },
      icon("upload"),
      el("h2", {}, "Drop recordings here"),
      el("p", {}, "Audio or video, one or many. They are transcribed on this server and not stored."),
      el(
        "div",
        { class: "actions" },
        this.#choose,
        this.#record.element,
        button("Try a sample", () => this.#sample(), { icon: "sample" }),
      ),
      this.#input,
    );
    this.element = el(
      "div",
      { class: "transcribe" },
      drop,
      this.#options.element,
      this.#alert,
      this.#said,
      this.#jobList,
      this.#place,
    );
    this.#acceptDrops();
    window.addEventListener("beforeunload", (event) => {
      if (this.#jobs.length > 0 || this.#record.isRecording) event.preventDefault(); // transcripts are only in this tab
    });
  }

  async show() {
    if (!this.#selected) this.#select(this.#jobs.at(-1) ?? null);
    const canTranscribe = await this.#options.load(this.api);
    if (!canTranscribe) this.#warn("Transcription is disabled on this server (ASR_API=off).");
  }

  /** Ends a recording, so that the microphone is not left open, and transcribes it. */
  hide() {
    void this.#record.stop();
  }

  #acceptDrops() {
    const over = (/** @type {boolean} */ isOver) => this.element.classList.toggle("over", isOver);
    this.element.addEventListener("dragover", (event) => {
      event.preventDefault();
      over(true);
    });
    this.element.addEventListener("dragleave", (event) => {
      if (!this.element.contains(/** @type {Node | null} */ (event.relatedTarget))) over(false);
    });
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      this.#add([...(event.dataTransfer?.files ?? [])]);
    });
  }

  /**
   * @param {File[]} files
   * @param {string} [credit]
   */
  #add(files, credit) {
    this.#warn("");
    const jobs = files.map((file) => new Job(file, () => this.#change(), credit));
    this.#jobs.push(...jobs);
    if (jobs[0] && this.element.isConnected) this.#select(jobs[0]); // a hidden waveform cannot be drawn
    this.element.classList.toggle("has-jobs", this.#jobs.length > 0);
    this.#start();
  }

  #start() {
    const running = this.#jobs.filter((job) => job.state === "running").length;
    const waiting = this.#jobs.filter((job) => job.state === "waiting").slice(0, Math.max(0, AT_ONCE - running));
    for (const job of waiting) void this.#run(job);
    this.#change();
  }

  /** @param {Job} job */
  async #run(job) {
    await job.run(this.api, () => this.#options.fields());
    // Whoever has declined to enter a key is not asked again for each recording that waits.
    if (job.lacksKey) for (const other of this.#jobs) if (other.state === "waiting") other.fail(job.error);
    if (this.#jobs.includes(job)) this.#said.textContent = `${job.stage}: ${job.file.name}`;
    this.#start();
  }

  /** Schedules one update per frame. */
  #change() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#drawJobs();
      this.#editor?.update();
    });
  }

  /** Keeps the rows of known jobs, so that a click on one is not lost. */
  #drawJobs() {
    for (const job of this.#jobs.filter((one) => !this.#rows.has(one))) {
      const row = new JobRow(job, () => this.#select(job), {
        cancel: () => job.cancel(),
        remove: () => this.#remove(job),
        retry: () => this.#retry(job),
      });
      this.#rows.set(job, row);
      this.#jobList.append(row.element);
    }
    for (const [job, row] of this.#rows) row.update(job === this.#selected);
  }

  /** @param {Job | null} job */
  #select(job) {
    this.#editor?.close();
    this.#selected = job;
    this.#editor = job ? new Editor(job, () => this.#options.limits()) : null;
    this.#place.replaceChildren(...(this.#editor ? [this.#editor.element] : []));
    this.#change();
  }

  /** @param {Job} job */
  #retry(job) {
    if (!mayDiscard(job)) return;
    job.reset();
    this.#select(job);
    this.#start();
  }

  /**
   * Removes a job and ends its request. The focus moves to the next row, or to the previous one at the end of the list.
   * @param {Job} job
   */
  #remove(job) {
    if (!mayDiscard(job)) return;
    job.cancel();
    const index = this.#jobs.indexOf(job);
    this.#jobs.splice(index, 1);
    const next = this.#jobs[index] ?? this.#jobs.at(-1) ?? null;
    this.#rows.get(job)?.element.remove();
    this.#rows.delete(job);
    if (job === this.#selected) this.#select(next);
    (next ? this.#rows.get(next)?.open : this.#choose)?.focus();
    this.#said.textContent = `Removed: ${job.file.name}`;
    this.element.classList.toggle("has-jobs", this.#jobs.length > 0);
    this.#change();
  }

  async #sample() {
    try {
      const sample = await received((await this.api.request("page/sample.mp3")).blob());
      this.#add([new File([sample], "sample.mp3", { type: sample.type })], SAMPLE_CREDIT);
    } catch (error) {
      this.#warn(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} message */
  #warn(message) {
    this.#alert.textContent = message;
    this.#alert.hidden = !message;
  }
}

/**
 * Asks whether the transcript of a job may be discarded, if it has one.
 * @param {Job} job
 */
function mayDiscard({ file, transcript }) {
  return (
    transcript.segments.length === 0 || confirm(`Discard the transcript of ${file.name} with its names and edits?`)
  );
}

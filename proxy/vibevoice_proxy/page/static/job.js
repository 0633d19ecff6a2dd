/** A recording and the state of its transcription. */

import { KeyMissing, Unreachable } from "./api.js";
import { isReadable } from "./files.js";
import { Transcript } from "./transcript.js";

/** @typedef {"waiting" | "running" | "done" | "failed" | "canceled"} State */

/** Browsers report this as a network error. */
const UNREADABLE =
  "Your browser cannot read this file. Choose a file, not a folder, and check that it has not been moved, changed or deleted.";

export class Job {
  /** @type {State} */
  state = "waiting";
  /** Message of the error that ended the job. */
  error = "";
  /** Whether the job failed because the user entered no API key. */
  lacksKey = false;
  /** Upload progress, from 0 to 1. */
  sent = 0;
  transcript = new Transcript();
  #canceling = new AbortController();

  /**
   * @param {File} file
   * @param {() => void} onChange
   * @param {string} [credit] license notice of the recording
   */
  constructor(file, onChange, credit = "") {
    this.file = file;
    this.onChange = onChange;
    this.credit = credit;
  }

  get isRunning() {
    return this.state === "waiting" || this.state === "running";
  }

  get isDone() {
    return this.state === "done";
  }

  /** Whether the transcription ended, but parts of the recording have no transcript. */
  get isIncomplete() {
    return this.isDone && this.transcript.missing.length > 0;
  }

  /** The state as a text for the user. */
  get stage() {
    if (this.state === "running") return this.sent < 1 ? "Uploading…" : "Transcribing…";
    const done = this.isIncomplete ? "Incomplete" : "Done";
    return { waiting: "Waiting…", done, failed: "Failed", canceled: "Canceled" }[this.state];
  }

  /** Like `stage`, with the share of the file that was uploaded. Screen readers would announce each change. */
  get progress() {
    const isUploading = this.state === "running" && this.sent < 1;
    return isUploading ? `Uploading, ${Math.floor(100 * this.sent)} %…` : this.stage;
  }

  /**
   * Uploads the recording and collects its segments. Never throws: failures are stored in `error`.
   * @param {import("./api.js").Api} api
   * @param {() => Promise<[string, string][]>} readFields gives the form fields of the options
   */
  async run(api, readFields) {
    this.state = "running";
    this.onChange();
    const { signal } = this.#canceling;
    let isWhole = false;
    try {
      const form = new FormData();
      for (const [name, value] of await readFields()) form.append(name, value);
      form.append("response_format", "diarized_json");
      form.append("stream", "true");
      form.append("file", this.file);
      await api.upload("v1/audio/transcriptions", form, {
        signal,
        onProgress: (share) => {
          this.sent = share;
          this.onChange();
        },
        onEvent: (event) => {
          if (event.error) throw new Error(event.error.message);
          isWhole ||= event.type === "transcript.text.done";
          this.#take(event);
        },
      });
      if (!isWhole) throw new Error("The server ended the response early. The segments received so far are kept.");
      this.state = "done";
    } catch (error) {
      const isLost = error instanceof Unreachable && !(await isReadable(this.file));
      this.state = signal.aborted ? "canceled" : "failed";
      this.error = signal.aborted ? "" : isLost ? UNREADABLE : /** @type {Error} */ (error).message;
      this.lacksKey = error instanceof KeyMissing;
    }
    this.onChange();
  }

  /** Resets the job so that it can run again. */
  reset() {
    this.#canceling = new AbortController();
    this.state = "waiting";
    this.error = "";
    this.lacksKey = false;
    this.sent = 0;
    this.transcript = new Transcript();
  }

  /**
   * Ends the job before it has started.
   * @param {string} message
   */
  fail(message) {
    this.state = "failed";
    this.error = message;
    this.onChange();
  }

  /** Cancels the job, including its request to the server. */
  cancel() {
    this.#canceling.abort();
    if (this.state === "waiting") this.state = "canceled";
    this.onChange();
  }

  /** @param {any} event of the API */
  #take(event) {
    if (event.type === "transcript.text.segment") this.transcript.add(event);
    else if (event.type === "transcript.text.done") {
      this.transcript.usage = event.usage ?? null;
      this.transcript.missing = event.missing ?? [];
    } else return;
    this.onChange();
  }
}

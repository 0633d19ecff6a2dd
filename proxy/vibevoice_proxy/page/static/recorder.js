/** Records from the microphone in the browser's own format. */

import { el } from "./dom.js";

export class Recorder {
  /** @type {MediaRecorder | null} */
  #recorder = null;
  /** @type {Blob[]} */
  #parts = [];

  get isRecording() {
    return this.#recorder !== null;
  }

  /** Opens the microphone and starts recording. Throws an Error with a message for the user. */
  async start() {
    const stream = await openMicrophone();
    this.#parts = [];
    this.#recorder = new MediaRecorder(stream);
    this.#recorder.ondataavailable = (event) => this.#parts.push(event.data);
    this.#recorder.start(1000);
  }

  /** Stops recording, closes the microphone and returns the file. The browser may already have stopped: the microphone was unplugged. */
  async stop() {
    const recorder = this.#recorder;
    if (!recorder) throw new Error("Nothing is being recorded.");
    this.#recorder = null;
    if (recorder.state !== "inactive") {
      await new Promise((resolve) => {
        recorder.addEventListener("stop", resolve, { once: true });
        recorder.stop();
      });
    }
    for (const track of recorder.stream.getTracks()) track.stop();
    const type = recorder.mimeType.split(";")[0] ?? "";
    const name = `Recording ${new Date().toLocaleTimeString()}.${type.includes("mp4") ? "m4a" : "webm"}`;
    return new File(this.#parts, name, { type });
  }
}

/**
 * Opens the microphone. Throws an Error with a message for the user.
 * @returns {Promise<MediaStream>}
 */
export async function openMicrophone() {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers allow the microphone only over https or on localhost.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    const denied = error instanceof DOMException && error.name === "NotAllowedError";
    throw new Error(
      denied
        ? "Microphone access is blocked. Allow it in your browser's site settings and try again."
        : "No microphone was found. Connect one and try again.",
    );
  }
}

/**
 * Duration of a recording in seconds; 0 if the browser cannot play it.
 * @param {HTMLMediaElement} media whose source is set
 * @returns {Promise<number>}
 */
export async function durationOf(media) {
  if (media.readyState < HTMLMediaElement.HAVE_METADATA) {
    await new Promise((resolve) => {
      for (const name of ["loadedmetadata", "error"]) media.addEventListener(name, resolve, { once: true });
    });
  }
  if (media.error) return 0;
  if (Number.isFinite(media.duration)) return media.duration;
  // Files by MediaRecorder have no duration until the browser has seeked to their end.
  const probe = el("audio", { src: media.src, preload: "auto" });
  return new Promise((resolve) => {
    probe.ondurationchange = () => {
      if (Number.isFinite(probe.duration)) resolve(probe.duration);
    };
    probe.onerror = () => resolve(0);
    probe.currentTime = Number.MAX_SAFE_INTEGER;
  });
}

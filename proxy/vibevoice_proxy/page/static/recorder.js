/** Recordings from the microphone, in the format that the browser writes. */

import { el } from "./dom.js";

export class Recorder {
  /** @type {MediaRecorder | null} */
  #recorder = null;
  /** @type {Blob[]} */
  #parts = [];

  get isRecording() {
    return this.#recorder !== null;
  }

  /** Asks for the microphone and begins. Throws what the user can read when there is none. */
  async start() {
    const stream = await openMicrophone();
    this.#parts = [];
    this.#recorder = new MediaRecorder(stream);
    this.#recorder.ondataavailable = (event) => this.#parts.push(event.data);
    this.#recorder.start(1000);
  }

  /** Ends and closes the microphone. */
  async stop() {
    const recorder = this.#recorder;
    if (!recorder) throw new Error("Nothing is being recorded.");
    this.#recorder = null;
    await new Promise((resolve) => {
      recorder.addEventListener("stop", resolve, { once: true });
      recorder.stop();
    });
    for (const track of recorder.stream.getTracks()) track.stop();
    const type = recorder.mimeType.split(";")[0] ?? "";
    const name = `Recording ${new Date().toLocaleTimeString()}.${type.includes("mp4") ? "m4a" : "webm"}`;
    return new File(this.#parts, name, { type });
  }
}

/**
 * The microphone. Throws what the user can read when it cannot be used.
 * @returns {Promise<MediaStream>}
 */
export async function openMicrophone() {
  if (!navigator.mediaDevices) {
    throw new Error("The browser opens the microphone only over https or on localhost.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    const denied = error instanceof DOMException && error.name === "NotAllowedError";
    throw new Error(
      denied
        ? "The browser was told not to use the microphone. Allow it in the site's settings and try again."
        : "No microphone was found. Connect one and try again.",
    );
  }
}

/**
 * Seconds of a recording as the browser knows them; 0 where it cannot play it.
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
  // What MediaRecorder writes has no length: it is known once the end was looked for.
  const probe = el("audio", { src: media.src, preload: "auto" });
  return new Promise((resolve) => {
    probe.ondurationchange = () => {
      if (Number.isFinite(probe.duration)) resolve(probe.duration);
    };
    probe.onerror = () => resolve(0);
    probe.currentTime = Number.MAX_SAFE_INTEGER;
  });
}

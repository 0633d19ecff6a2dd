/** Records from the microphone in the browser's own format. */

import { el } from "./dom.js";

/** Port of the user's own machine in the advice for an SSH tunnel: the server's default. */
const TUNNEL_PORT = 8899;

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
    try {
      const recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => this.#parts.push(event.data);
      recorder.start(1000);
      this.#recorder = recorder;
    } catch {
      close(stream);
      throw new Error("Your browser cannot record audio. Record with another program and choose the file.");
    }
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
    close(recorder.stream);
    const type = recorder.mimeType.split(";")[0] ?? "";
    const name = `Recording ${new Date().toLocaleTimeString()}.${type.includes("mp4") ? "m4a" : "webm"}`;
    return new File(this.#parts, name, { type });
  }
}

/** Why browsers give this page no microphone, and how to change that; empty if they do. */
export function whyNoMicrophone() {
  if (isSecureContext) return "";
  const { hostname, port, pathname } = location;
  const host = hostname.replace(/[[\]]/g, ""); // IPv6 addresses have brackets only in URLs
  return (
    "Browsers allow the microphone only over https or on localhost. " +
    `Run “ssh -L ${TUNNEL_PORT}:127.0.0.1:${port || 80} ${host}” and open http://localhost:${TUNNEL_PORT}${pathname}, ` +
    "or use a proxy with TLS."
  );
}

/**
 * Opens the microphone. Throws an Error with a message for the user.
 * @returns {Promise<MediaStream>}
 */
export async function openMicrophone() {
  const why = whyNoMicrophone();
  if (why) throw new Error(why);
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

/** @param {MediaStream} stream */
function close(stream) {
  for (const track of stream.getTracks()) track.stop();
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

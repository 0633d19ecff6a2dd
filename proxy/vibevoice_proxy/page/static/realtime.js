/** A live transcription session over OpenAI's realtime API. */

import { jsonOf } from "./api.js";
import { RATE } from "./microphone.js";

/** Maximum bytes waiting to be sent: ten seconds of audio in base64. */
const MAX_WAITING = 10 * RATE * 2 * (4 / 3);
/** Milliseconds without an event after which the page no longer waits for the last transcription. */
const PATIENCE = 60_000;

const TRANSCRIPTION = "conversation.item.input_audio_transcription";
const SESSION = {
  type: "transcription",
  audio: {
    input: { format: { type: "audio/pcm", rate: RATE }, transcription: {}, turn_detection: { type: "server_vad" } },
  },
};

/** @typedef {{ id: string, start: number, end: number, speaker: string | null, text: string }} Segment times in seconds */
/** @typedef {import("./transcript.js").Missing} Missing */
/** @typedef {{ text: string, told: number, start: number, end: number }} Item `told`: characters of `text` in segments */
/**
 * @typedef {object} Listener
 * @property {() => void} onReady the server is ready
 * @property {(segment: Segment) => void} onSegment a final segment
 * @property {(part: Missing) => void} onMissing a part without a transcript
 * @property {(text: string) => void} onPending words after the last segment; they may still change
 * @property {(isSpeaking: boolean) => void} onSpeech
 * @property {(message: string) => void} onError
 * @property {() => void} onClose
 */

/**
 * A short-lived key for one session. API keys may have characters that a WebSocket's subprotocol must not have.
 * @param {import("./api.js").Api} api
 * @returns {Promise<string>}
 */
export async function clientSecret(api) {
  return (await jsonOf(await api.post("v1/realtime/client_secrets", { session: SESSION }))).value;
}

export class RealtimeSession {
  /** @type {Map<string, Item>} by item id */
  #items = new Map();
  /** Message of the latest error if no event followed it: if the connection closes now, this is the reason. */
  #error = "";
  /** Seconds of audio sent. */
  #sent = 0;
  #timer = 0;
  #isReady = false;
  #isEnding = false;

  /**
   * @param {URL} base folder of the page
   * @param {string} secret a client secret
   * @param {Listener} listener
   */
  constructor(base, secret, listener) {
    this.listener = listener;
    const url = new URL("v1/realtime?intent=transcription", base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    // Browsers cannot set headers on a WebSocket, so OpenAI's API takes the secret as a subprotocol.
    this.socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${secret}`]);
    this.socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    this.socket.onclose = ({ reason }) => this.#closed(reason);
  }

  /**
   * Sends samples: 16 bits, mono, 24 kHz.
   * @param {Int16Array} samples
   */
  append(samples) {
    if (!this.#isReady || this.#isEnding || this.socket.readyState !== WebSocket.OPEN) return;
    if (this.socket.bufferedAmount > MAX_WAITING) {
      this.#fail("The network is too slow for live audio. The captions so far are kept.");
      this.socket.close();
      return;
    }
    this.#sent += samples.length / RATE;
    this.#send("input_audio_buffer.append", { audio: base64(new Uint8Array(samples.buffer)) });
  }

  /** Ends the input. The connection closes after the last transcription. */
  end() {
    this.#isEnding = true;
    if (this.socket.readyState !== WebSocket.OPEN) {
      this.socket.close();
      return;
    }
    this.#send("input_audio_buffer.commit", {});
    this.#startTimer();
  }

  /**
   * @param {string} type
   * @param {object} fields
   */
  #send(type, fields) {
    this.socket.send(JSON.stringify({ type, ...fields }));
  }

  /** @param {any} event of the API */
  #take(event) {
    this.#error = "";
    if (this.#isEnding) this.#startTimer();
    switch (event.type) {
      case "session.created":
        this.#isReady = true;
        this.listener.onReady();
        break;
      case "input_audio_buffer.speech_started":
        this.#item(event.item_id).start = event.audio_start_ms / 1000;
        this.listener.onSpeech(true);
        break;
      case "input_audio_buffer.speech_stopped":
        this.#item(event.item_id).end = event.audio_end_ms / 1000;
        this.listener.onSpeech(false);
        break;
      case `${TRANSCRIPTION}.delta`:
        this.#item(event.item_id).text += event.delta;
        this.#showPending();
        break;
      case `${TRANSCRIPTION}.segment`:
        this.#addSegment(event);
        break;
      case `${TRANSCRIPTION}.completed`:
        this.#complete(event);
        break;
      case `${TRANSCRIPTION}.failed`:
        this.#addMissing(event);
        break;
      case "error":
        // Without new audio there is nothing to commit. Turns that are open still get their transcription.
        if (this.#isEnding && event.error.code === "input_audio_buffer_commit_empty") this.#closeWhenDone();
        else this.#fail(event.error.message);
        break;
    }
  }

  /** @param {string} message */
  #fail(message) {
    this.#error = message;
    this.listener.onError(message);
  }

  #startTimer() {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.socket.close(), PATIENCE);
  }

  /** @param {string} reason by the server; empty if there is none */
  #closed(reason) {
    clearTimeout(this.#timer);
    for (const [id, item] of this.#items) this.#keepPending(id, item);
    const lost = this.#isReady
      ? "The connection to the server was lost."
      : "The server refused the connection. Live captions may be disabled.";
    const message = this.#error || (this.#isReady && this.#isEnding ? "" : reason || lost);
    if (message) this.listener.onError(message);
    this.listener.onClose();
  }

  /** @param {Segment & { item_id: string }} segment */
  #addSegment(segment) {
    const item = this.#item(segment.item_id);
    const at = item.text.indexOf(segment.text, item.told);
    item.told = at < 0 ? Math.max(1, item.text.length) : at + segment.text.length;
    item.start = Math.max(item.start, segment.end);
    this.listener.onSegment(segment);
    this.#showPending();
  }

  /** @param {{ item_id: string, transcript: string, missing?: Missing[] }} event */
  #complete({ item_id, transcript, missing = [] }) {
    const item = this.#item(item_id);
    if (item.told === 0) this.#keepPending(item_id, { ...item, text: transcript });
    for (const part of missing) this.listener.onMissing(part);
    this.#remove(item_id);
  }

  /** @param {{ item_id: string, error: { code?: string | null, message: string } }} event */
  #addMissing({ item_id, error }) {
    const item = this.#item(item_id);
    this.#keepPending(item_id, item);
    this.listener.onMissing({ start: item.start, end: this.#endOf(item), reason: error.code || "failed" });
    this.listener.onError(error.message);
    this.#remove(item_id);
  }

  /**
   * Makes a segment of words that belong to no segment, so they are not lost.
   * @param {string} id
   * @param {Item} item
   */
  #keepPending(id, item) {
    const text = item.text.slice(item.told).trim();
    if (text) this.listener.onSegment({ id, start: item.start, end: this.#endOf(item), speaker: null, text });
  }

  /** @param {Item} item */
  #endOf({ start, end }) {
    return Math.max(start, end || this.#sent);
  }

  /** @param {string} id */
  #remove(id) {
    this.#items.delete(id);
    this.#showPending();
    if (this.#isEnding) this.#closeWhenDone();
  }

  #closeWhenDone() {
    if (this.#items.size === 0) this.socket.close();
  }

  /** @param {string} id */
  #item(id) {
    const found = this.#items.get(id) ?? { text: "", told: 0, start: 0, end: 0 };
    this.#items.set(id, found);
    return found;
  }

  #showPending() {
    const pending = [...this.#items.values()].map(({ text, told }) => text.slice(told).trim());
    this.listener.onPending(pending.filter(Boolean).join(" "));
  }
}

/** @param {Uint8Array} bytes */
function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return btoa(text);
}

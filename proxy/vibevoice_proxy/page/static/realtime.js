/** A live transcription session over OpenAI's realtime API. */

/** Most bytes that may wait to be sent: ten seconds of audio in base64. */
const MAX_WAITING = 10 * 24_000 * 2 * (4 / 3);

const TRANSCRIPTION = "conversation.item.input_audio_transcription";
const SESSION = {
  type: "transcription",
  audio: {
    input: { format: { type: "audio/pcm", rate: 24_000 }, transcription: {}, turn_detection: { type: "server_vad" } },
  },
};

/** @typedef {{ id: string, start: number, end: number, speaker: string | null, text: string }} Segment times in seconds */
/**
 * @typedef {object} Listener
 * @property {() => void} onReady the server listens
 * @property {(segment: Segment) => void} onSegment a final segment
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
  const response = await api.post("v1/realtime/client_secrets", { session: SESSION });
  return (await response.json()).value;
}

export class RealtimeSession {
  /** @type {Map<string, { text: string, told: number, start: number, end: number }>} by item id */
  #items = new Map();
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
    this.socket.onclose = ({ reason }) => {
      if (!this.#isReady)
        this.listener.onError(reason || "The server refused the connection. Live captions may be turned off.");
      else if (!this.#isEnding) this.listener.onError(reason || "The connection to the server was lost.");
      this.listener.onClose();
    };
  }

  /**
   * Sends samples: 16 bits, mono, 24 kHz.
   * @param {Int16Array} samples
   */
  append(samples) {
    if (!this.#isReady || this.#isEnding || this.socket.readyState !== WebSocket.OPEN) return;
    if (this.socket.bufferedAmount > MAX_WAITING) {
      this.listener.onError("The network is too slow for live audio. The captions so far are kept.");
      this.socket.close();
      return;
    }
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
    setTimeout(() => this.socket.close(), 10_000); // in case no transcription arrives
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
        this.#items.delete(event.item_id);
        this.listener.onError(event.error.message);
        this.#showPending();
        break;
      case "error":
        // The commit failed because the buffer is empty: nothing more will arrive.
        if (this.#isEnding) this.#closeWhenDone();
        else this.listener.onError(event.error.message);
        break;
    }
  }

  /** @param {Segment & { item_id: string }} segment */
  #addSegment(segment) {
    const item = this.#item(segment.item_id);
    const at = item.text.indexOf(segment.text, item.told);
    item.told = at < 0 ? Math.max(1, item.text.length) : at + segment.text.length;
    this.listener.onSegment(segment);
    this.#showPending();
  }

  /** @param {{ item_id: string, transcript: string }} event */
  #complete({ item_id, transcript }) {
    const { told, start, end } = this.#item(item_id);
    if (told === 0 && transcript.trim()) {
      this.listener.onSegment({
        id: item_id,
        start,
        end: Math.max(start, end),
        speaker: null,
        text: transcript.trim(),
      });
    }
    this.#items.delete(item_id);
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

/** Client of the server's API: sends the tab's API key and turns error responses into errors with the server's message. */

import { eventReader } from "./events.js";

const KEY = "vibevoice-key";

/** An error response of the server, or no response at all. */
export class ApiError extends Error {}

/** The browser received no response. */
export class Unreachable extends ApiError {}

/** The server needs a key, and the user gave none. */
export class KeyMissing extends ApiError {}

export class Api {
  /** @type {Promise<string | null> | null} */
  #asking = null;
  /** How often the user has answered the dialog, and whether the last answer was a key. */
  #answers = { count: 0, isKey: false };

  /**
   * @param {URL} base folder of the page
   * @param {(why: string) => Promise<string | null>} askForKey null when the user gives none
   * @param {() => void} onKey called when the key has changed
   */
  constructor(base, askForKey, onKey) {
    this.base = base;
    this.askForKey = askForKey;
    this.onKey = onKey;
  }

  /** The API key entered in this tab. The browser drops it when the tab closes. */
  get key() {
    return sessionStorage.getItem(KEY) ?? "";
  }

  forgetKey() {
    sessionStorage.removeItem(KEY);
    this.onKey();
  }

  /**
   * Sends a request and returns its successful response.
   * @param {string} path relative to the page
   * @param {RequestInit} [init]
   * @param {boolean} [mayAsk] whether to ask the user for a key on status 401
   * @returns {Promise<Response>}
   */
  async request(path, init = {}, mayAsk = true) {
    const { count } = this.#answers;
    const response = await this.#fetch(path, init);
    if (response.ok) return response;
    const error = errorOf(response.status, await received(response.text()));
    const isRejected = response.status === 401 && mayAsk;
    if (isRejected && (await this.#newKey(error.message, count))) return this.request(path, init);
    throw error;
  }

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   */
  async json(path, init) {
    return jsonOf(await this.request(path, init));
  }

  /**
   * @param {string} path
   * @param {unknown} body
   * @param {AbortSignal} [signal]
   */
  post(path, body, signal) {
    const headers = { "content-type": "application/json" };
    return this.request(path, { method: "POST", headers, body: JSON.stringify(body), signal: signal ?? null });
  }

  /**
   * Asks for a key if the server needs one, before a request whose response would not show that.
   * Other errors are ignored: a reverse proxy may hide the metrics.
   * @param {AbortSignal} [signal]
   */
  async ensureKey(signal) {
    const { count } = this.#answers;
    const response = await this.#fetch("metrics", signal ? { signal } : {});
    if (response.status !== 401) return;
    const { message } = errorOf(response.status, await received(response.text()));
    if (!(await this.#newKey(message, count))) throw new KeyMissing(message);
    await this.ensureKey(signal);
  }

  /**
   * Uploads a form and reports the events of the response. Uses XMLHttpRequest because fetch reports no upload progress.
   * An error that `onEvent` throws ends the request and rejects the promise.
   * @param {string} path
   * @param {FormData} form
   * @param {{ onProgress: (share: number) => void, onEvent: (event: any) => void, signal: AbortSignal }} options
   * @returns {Promise<void>}
   */
  async upload(path, form, options) {
    // A rejected upload may lose its connection before the browser reads the response.
    await this.ensureKey(options.signal);
    await this.#send(path, form, options);
  }

  /**
   * @param {string} path
   * @param {FormData} form
   * @param {{ onProgress: (share: number) => void, onEvent: (event: any) => void, signal: AbortSignal }} options
   */
  #send(path, form, { onProgress, onEvent, signal }) {
    const request = new XMLHttpRequest();
    const read = eventReader(onEvent);
    const isStream = () => request.getResponseHeader("content-type")?.startsWith("text/event-stream");
    return /** @type {Promise<void>} */ (
      new Promise((resolve, reject) => {
        request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
        const readOn = () => {
          try {
            read(request.responseText);
          } catch (error) {
            reject(error);
            request.abort();
          }
        };
        request.onprogress = () => {
          if (isStream()) readOn();
        };
        request.onload = () => {
          if (request.status !== 200) return reject(errorOf(request.status, request.responseText));
          if (!isStream()) return reject(foreign());
          readOn();
          resolve();
        };
        request.onerror = () => reject(unreachable());
        request.onabort = () => reject(signal.reason);
        signal.addEventListener("abort", () => request.abort(), { once: true });
        request.open("POST", new URL(path, this.base));
        if (this.key) request.setRequestHeader("authorization", `Bearer ${this.key}`);
        request.send(form);
      })
    );
  }

  /**
   * @param {string} path
   * @param {RequestInit} init
   */
  async #fetch(path, init) {
    const headers = new Headers(init.headers);
    if (this.key) headers.set("authorization", `Bearer ${this.key}`);
    return received(fetch(new URL(path, this.base), { ...init, headers }));
  }

  /**
   * Opens one dialog, even if several requests need a key, and one of them gets its response after the dialog.
   * Returns whether there is a new key.
   * @param {string} why
   * @param {number} count of answers when the request was sent
   */
  async #newKey(why, count) {
    if (count !== this.#answers.count) return this.#answers.isKey;
    this.#asking ??= this.#ask(why);
    return (await this.#asking) !== null;
  }

  /** @param {string} why */
  async #ask(why) {
    try {
      const key = await this.askForKey(why);
      if (key) sessionStorage.setItem(KEY, key);
      this.#answers = { count: this.#answers.count + 1, isKey: key !== null };
      this.onKey();
      return key;
    } finally {
      this.#asking = null;
    }
  }
}

/**
 * Waits for something from the server: a response, its body, or a module. If it does not arrive, the browser's own
 * message ("network error") does not help the user.
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
export async function received(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException) throw unreachable();
    throw error;
  }
}

/**
 * The JSON body of a response.
 * @param {Response} response
 */
export async function jsonOf(response) {
  const text = await received(response.text());
  try {
    return JSON.parse(text);
  } catch {
    throw foreign();
  }
}

function foreign() {
  return new ApiError("The response is not from the VibeVoice server. Check the reverse proxy in front of it.");
}

function unreachable() {
  return new Unreachable(
    "The server closed the connection or cannot be reached. Check that it is running and try again.",
  );
}

/**
 * @param {number} status
 * @param {string} body
 */
function errorOf(status, body) {
  let message = `The server answered with status ${status}.`;
  try {
    message = JSON.parse(body).error.message ?? message;
  } catch {
    // the response comes from a reverse proxy, not from the API
  }
  return new ApiError(message);
}

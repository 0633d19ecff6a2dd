/** Entry point: routing between views and the API key dialog. */

import { Api, received } from "./api.js";
import { button, byId, el } from "./dom.js";
import { TranscribeView } from "./transcribe.js";

/** @typedef {{ title: string, element: HTMLElement, show(): Promise<void>, hide(): void }} View */

const DEFAULT = "transcribe";

/** @type {Record<string, (api: Api) => Promise<View>>} created when first shown, so that a visit loads only the modules it needs */
const VIEWS = {
  transcribe: async (api) => new TranscribeView(api),
  live: async (api) => new (await received(import("./live.js"))).LiveView(api),
  speak: async (api) => new (await received(import("./speak.js"))).SpeakView(api),
  status: async (api) => new (await received(import("./status.js"))).StatusView(api),
};

/**
 * Asks for an API key in a dialog. Resolves to null if the user cancels.
 * @param {string} why message of the server
 * @returns {Promise<string | null>}
 */
function askForKey(why) {
  const dialog = byId("key-dialog", HTMLDialogElement);
  const input = byId("key", HTMLInputElement);
  byId("key-why", HTMLElement).textContent = why;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? input.value.trim() : null), {
      once: true,
    });
  });
}

/** The view in the page's address. */
function chosenView() {
  const asked = location.hash.slice(1);
  return Object.hasOwn(VIEWS, asked) ? asked : DEFAULT;
}

/** @param {Api} api */
function router(api) {
  const main = byId("main", HTMLElement);
  const alert = byId("alert", HTMLElement);
  /** @type {Map<string, View>} */
  const made = new Map();
  /** @type {View | undefined} */
  let current;
  return async () => {
    const name = chosenView();
    const make = /** @type {(api: Api) => Promise<View>} */ (VIEWS[name]);
    current?.hide();
    alert.hidden = true;
    markLink(name);
    try {
      const created = made.get(name) ?? (await make(api));
      if (chosenView() !== name) return; // the user has switched to another view
      const view = made.get(name) ?? created;
      made.set(name, view);
      current = view;
      document.title = `${view.title} · VibeVoice`;
      main.replaceChildren(el("h1", { class: "visually-hidden" }, view.title), view.element);
      await view.show();
    } catch (error) {
      if (chosenView() !== name) return;
      if (!made.has(name)) main.replaceChildren(); // the address and the link no longer name the previous view
      alert.replaceChildren(
        /** @type {Error} */ (error).message,
        button("Try again", () => window.dispatchEvent(new HashChangeEvent("hashchange")), { class: "quiet" }),
      );
      alert.hidden = false;
    }
  };
}

/**
 * Marks the link of a view as the current one.
 * @param {string} name
 */
function markLink(name) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// The last resort: an error that no view handles is a bug, but the user must not wait in vain.
window.addEventListener("unhandledrejection", ({ reason }) => {
  const alert = byId("alert", HTMLElement);
  alert.textContent = `Something went wrong: ${reason?.message ?? reason} If the page no longer works, save your transcripts and reload it.`;
  alert.hidden = false;
});
// Without this, the browser would open a file that is dropped outside the drop zone.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
const api = new Api(new URL(".", document.baseURI), askForKey, () => {
  forget.hidden = !api.key;
});
const forget = byId("forget-key", HTMLButtonElement);
forget.hidden = !api.key;
forget.addEventListener("click", () => {
  api.forgetKey();
  byId("main", HTMLElement).focus(); // the button is hidden now
});
const route = router(api);
window.addEventListener("hashchange", () => void route());
void route();

/** Copies text. */

import { el } from "./dom.js";

/**
 * Copies a text. Returns whether the browser allowed it.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export async function copy(text) {
  if (!navigator.clipboard) return copySelected(text); // it exists only in secure contexts
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Copies by the browser's command for selected text.
 * @param {string} text
 */
function copySelected(text) {
  const focused = document.activeElement;
  const field = el("textarea", { class: "visually-hidden", readonly: true }, text);
  document.body.append(field);
  field.focus({ preventScroll: true });
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  return isCopied;
}

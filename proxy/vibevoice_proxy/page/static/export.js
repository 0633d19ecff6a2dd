/** Controls to copy and download a transcript. */

import { copy } from "./clipboard.js";
import { button, el } from "./dom.js";
import { save } from "./files.js";
import { FORMATS } from "./formats.js";

/**
 * The format menu and the buttons Copy and Download.
 * @param {import("./transcript.js").Transcript} transcript
 * @param {string} name of the files, without an extension
 * @param {() => import("./subtitles.js").Limits} limits
 * @param {(said: string) => void} tell
 */
export function exportControls(transcript, name, limits, tell) {
  const options = Object.entries(FORMATS).map(([value, { label }]) => el("option", { value }, label));
  const format = el("select", { "aria-label": "Format" }, ...options);
  const written = () => {
    const chosen = FORMATS[format.value];
    if (!chosen) throw new Error(`unknown format ${format.value}`);
    return { ...chosen, text: chosen.write(transcript, limits()) };
  };
  const copyText = async () => {
    const isCopied = await copy(written().text);
    tell(isCopied ? "Copied." : "Your browser does not allow this page to copy. Download the file instead.");
  };
  const download = () => {
    const { text, type, extension } = written();
    save(new Blob([text], { type }), `${name}.${extension}`);
  };
  return [
    format,
    button("Copy", copyText, { icon: "copy" }),
    button("Download", download, { icon: "download", class: "primary" }),
  ];
}

/** The known speakers of a transcription: names with recordings, or everyone who is enrolled on the server. */

import { ApiError } from "./api.js";
import { button, el } from "./dom.js";
import { dataUrl } from "./files.js";

const ADVICE = "Add it in Options, or remove the speaker there.";
/** Selects all enrolled speakers in the API. */
const EVERYBODY = "*";
/** Limit of the API. */
const MAX_SPEAKERS = 4;

export class KnownSpeakers {
  #rows = el("ul", { class: "known" });
  #add = button("Add a known speaker", () => this.#addRow(), { icon: "plus", class: "quiet" });
  #enrolled = el("input", { type: "checkbox", onchange: () => this.#showRows() });
  #count = el("span");
  #offer = el("label", { class: "check", hidden: true }, this.#enrolled, this.#count);
  element = el(
    "fieldset",
    {},
    el("legend", {}, "Known speakers"),
    el(
      "p",
      {},
      `Add a name and a few seconds of that person's voice to see the name in the transcript, for up to ${MAX_SPEAKERS} people.`,
    ),
    this.#offer,
    this.#rows,
    this.#add,
  );

  /**
   * Offers the enrolled speakers, if the server has any.
   * @param {import("./api.js").Api} api
   */
  async load(api) {
    const count = await enrolledOn(api);
    this.#count.textContent = `Recognize everyone enrolled on this server (${count}).`;
    this.#offer.hidden = count === 0;
    if (count === 0) this.#enrolled.checked = false;
    this.#showRows();
  }

  /**
   * The form fields. Throws an Error with a message for the user if a speaker has no name or no recording.
   * @returns {Promise<[string, string][]>}
   */
  async fields() {
    if (this.#enrolled.checked) return [["known_speaker_names[]", EVERYBODY]];
    /** @type {[string, string][]} */
    const fields = [];
    for (const row of this.#rows.children) {
      const [name, recording] = valuesOf(row);
      if (!name && !recording) continue;
      if (!recording) throw new Error(`Known speaker ${name} has no recording. ${ADVICE}`);
      if (!name) throw new Error(`The known speaker in ${recording.name} has no name. ${ADVICE}`);
      fields.push(["known_speaker_names[]", name]);
      fields.push(["known_speaker_references[]", await dataUrl(recording)]);
    }
    return fields;
  }

  #addRow() {
    const name = el("input", { placeholder: "Name", "aria-label": "Name of the known speaker" });
    const file = el("input", {
      type: "file",
      accept: "audio/*,video/*",
      "aria-label": "Recording of the known speaker",
    });
    const row = el("li", {}, name, file);
    const remove = () => {
      row.remove();
      this.#limit();
      this.#add.focus();
    };
    row.append(button("Remove", remove, { icon: "close", iconOnly: true, class: "quiet" }));
    this.#rows.append(row);
    this.#limit();
    name.focus();
  }

  /** The API takes either enrolled speakers or recordings. */
  #showRows() {
    this.#rows.hidden = this.#add.hidden = this.#enrolled.checked;
  }

  #limit() {
    this.#add.disabled = this.#rows.children.length >= MAX_SPEAKERS;
  }
}

/**
 * How many speakers are enrolled; 0 also if enrollment is disabled.
 * @param {import("./api.js").Api} api
 * @returns {Promise<number>}
 */
async function enrolledOn(api) {
  try {
    return (await api.json("v1/audio/speakers")).data.length;
  } catch (error) {
    if (error instanceof ApiError) return 0;
    throw error;
  }
}

/**
 * @param {Element} row
 * @returns {[string, File | undefined]} name and recording
 */
function valuesOf(row) {
  const [name, file] = row.querySelectorAll("input");
  return [name?.value.trim() ?? "", file?.files?.[0]];
}

/** The waveform: wavesurfer.js with a region for each segment in its speaker's color. */

/** Pixels. Changing it changes the hash of the style sheet in ../files.py. */
const HEIGHT = 72;
/** Pixels per second when zoomed in. */
const CLOSE = 20;

/** @typedef {import("./transcript.js").Transcript} Transcript */

export class Waveform {
  /** @type {import("./vendor/wavesurfer/wavesurfer.esm.js").default | null} */
  #surfer = null;
  /** @type {ReturnType<typeof import("./vendor/wavesurfer/regions.esm.js").default.create> | null} */
  #regions = null;
  #drawn = 0;
  #isClose = false;
  #isDestroyed = false;
  #isDark = matchMedia("(prefers-color-scheme: dark)");
  #recolor = () => this.#surfer?.setOptions(this.#colors());

  /**
   * @param {HTMLElement} container
   * @param {HTMLMediaElement} media
   */
  constructor(container, media) {
    this.container = container;
    this.media = media;
  }

  /**
   * Draws the peaks. Loads the library on first use, to keep the first visit small.
   * @param {Float32Array} peaks
   * @param {number} duration seconds
   */
  async show(peaks, duration) {
    const [{ default: WaveSurfer }, { default: Regions }] = await Promise.all([
      import("./vendor/wavesurfer/wavesurfer.esm.js"),
      import("./vendor/wavesurfer/regions.esm.js"),
    ]);
    if (this.#isDestroyed) return;
    this.#regions = Regions.create();
    this.#surfer = WaveSurfer.create({
      container: this.container,
      media: this.media,
      height: HEIGHT,
      peaks: [peaks],
      duration,
      barWidth: 2,
      barGap: 1,
      barRadius: 2,
      cursorWidth: 2,
      normalize: false,
      dragToSeek: true,
      plugins: [this.#regions],
      ...this.#colors(),
    });
    this.#isDark.addEventListener("change", this.#recolor);
    await new Promise((resolve) => this.#surfer?.once("ready", () => resolve(undefined)));
  }

  /**
   * Adds regions for new segments.
   * @param {Transcript} transcript
   */
  add(transcript) {
    for (const segment of transcript.segments.slice(this.#regions ? this.#drawn : Infinity)) {
      this.#drawn += 1;
      if (segment.speaker === null) continue;
      const color = `var(--speaker-${transcript.color(segment.speaker)}-soft)`;
      this.#regions?.addRegion({ start: segment.start, end: segment.end, color, drag: false, resize: false });
    }
  }

  /**
   * Redraws all regions after a merge.
   * @param {Transcript} transcript
   */
  redraw(transcript) {
    this.#regions?.clearRegions();
    this.#drawn = 0;
    this.add(transcript);
  }

  /** Toggles the zoom. Returns whether the waveform is zoomed in. */
  toggleZoom() {
    this.#isClose = !this.#isClose;
    this.#surfer?.zoom(this.#isClose ? CLOSE : 0);
    return this.#isClose;
  }

  destroy() {
    this.#isDestroyed = true;
    this.#isDark.removeEventListener("change", this.#recolor);
    this.#surfer?.destroy();
  }

  #colors() {
    const style = getComputedStyle(this.container);
    return {
      waveColor: style.getPropertyValue("color"),
      progressColor: style.getPropertyValue("outline-color"),
      cursorColor: style.getPropertyValue("caret-color"),
    };
  }
}

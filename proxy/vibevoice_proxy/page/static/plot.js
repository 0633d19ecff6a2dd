/** Small SVG plots. */

import { el, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 64;

/**
 * @param {string} title
 * @param {readonly { time: number, value: number | null }[]} points
 * @param {{ from: number, to: number, written: (value: number) => string, bars?: boolean, sum?: boolean }} options
 *   times in milliseconds; `sum` shows the sum of all values in place of the last
 */
export function plot(title, points, { from, to, written, bars = false, sum = false }) {
  const known = /** @type {{ time: number, value: number }[]} */ (points.filter(({ value }) => value !== null));
  const most = Math.max(...known.map(({ value }) => value), 0);
  const total = known.reduce((before, { value }) => before + value, 0);
  const shown = sum ? total : known.at(-1)?.value;
  const now = shown === undefined ? "–" : written(shown);
  const x = (/** @type {number} */ time) => (WIDTH * (time - from)) / (to - from);
  const y = (/** @type {number} */ value) => HEIGHT - 2 - (HEIGHT - 6) * (most > 0 ? value / most : 0);
  const shape = bars
    ? known.map(({ time, value }) => svg("path", { d: `M${x(time).toFixed(1)} ${HEIGHT - 2}V${y(value).toFixed(1)}` }))
    : [
        svg("polyline", {
          points: known.map(({ time, value }) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
        }),
      ];
  const highest = `max. ${known.length > 0 ? written(most) : "–"}`;
  return el(
    "figure",
    { class: "plot" },
    el("figcaption", {}, title, el("strong", {}, now)),
    svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": `${title}: ${now}, ${highest}`,
        preserveAspectRatio: "none",
      },
      svg("path", { class: "base", d: `M0 ${HEIGHT - 2}H${WIDTH}` }),
      ...shape,
    ),
    el("small", {}, highest),
  );
}

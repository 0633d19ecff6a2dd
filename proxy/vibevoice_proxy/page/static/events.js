/** Parses server-sent events from a growing text: https://html.spec.whatwg.org/multipage/server-sent-events.html */

/**
 * Returns a function that takes the whole text received so far and reports each new event, parsed from JSON.
 * @param {(event: any) => void} onEvent
 * @returns {(text: string) => void}
 */
export function eventReader(onEvent) {
  let position = 0;
  return (text) => {
    for (let end = text.indexOf("\n\n", position); end >= 0; end = text.indexOf("\n\n", position)) {
      const lines = text.slice(position, end).split("\n");
      position = end + 2;
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length > 0) onEvent(JSON.parse(data.join("\n")));
    }
  };
}

// The timeline: one bar a window, from the threshold up for bona fide and down for spoof; the last minute of what was heard.

const SECONDS = 60;
const LEAST = 2; // a bar is full at this distance from the threshold, or at the largest there is
const [WIDTH, MIDDLE] = [600, 65];

/** Draws into `svg`; gives the stretch of time that it shows, in words. */
export function drawTimeline(svg, { windows, duration }, threshold) {
  const begin = Math.max(0, duration - SECONDS);
  const span = Math.max(duration - begin, 4);
  const x = (seconds) => ((seconds - begin) / span) * WIDTH;
  const shown = windows.filter(({ end }) => end > begin);
  const full = Math.max(LEAST, ...shown.map(({ score }) => Math.abs(score - threshold)));
  const bars = shown.map(({ start, end, score }, n, { [n - 1]: before }) => {
    // Windows overlap; a bar covers what is new in its window.
    const from = x(Math.max(begin, before ? before.end : start));
    const height = Math.max(2, (Math.abs(score - threshold) / full) * MIDDLE);
    const bonafide = score >= threshold;
    const y = bonafide ? MIDDLE - height : MIDDLE;
    const bar = make("rect", { x: from + 1, y, width: Math.max(1, x(end) - from - 2), height, class: bonafide ? "bonafide" : "spoof" });
    bar.append(make("title", {}, `${start.toFixed(1)} to ${end.toFixed(1)} s: ${score.toFixed(2)}`));
    return bar;
  });
  svg.replaceChildren(make("line", { x1: 0, x2: WIDTH, y1: MIDDLE, y2: MIDDLE, class: "axis" }), ...bars);
  return `${begin.toFixed(0)} to ${(begin + span).toFixed(0)} s`;
}

function make(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

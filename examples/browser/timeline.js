// The timeline: one bar a window, up for bona fide, down for spoof, flat between the thresholds; the last minute of what was heard.

import { verdictOf } from "./bundle.js";

const SECONDS = 60;
const LEAST = 2; // a bar is full at this distance from the threshold, or at the largest there is
const [WIDTH, MIDDLE] = [600, 65];

/** Draws into `svg`; gives the seconds at which what it shows begins and ends. */
export function drawTimeline(svg, { windows, duration }, band) {
  const begin = Math.max(0, duration - SECONDS);
  const span = Math.max(duration - begin, 4);
  const x = (seconds) => ((seconds - begin) / span) * WIDTH;
  const shown = windows.filter(({ end }) => end > begin);
  const full = Math.max(LEAST, ...shown.map(({ score }) => beyond(score, band)));
  const bars = shown.flatMap(({ start, end, score }, n, { [n - 1]: before }) => {
    // Windows overlap; a bar covers what is new in its window.
    const from = x(Math.max(begin, before ? before.end : start));
    const verdict = verdictOf(score, band);
    const height = Math.max(2, (beyond(score, band) / full) * MIDDLE);
    const y = { bonafide: MIDDLE - height, spoof: MIDDLE, undecided: MIDDLE - 1 }[verdict];
    const place = { x: from + 1, width: Math.max(1, x(end) - from - 2) };
    const hover = make("rect", { ...place, y: 0, height: 2 * MIDDLE, class: "hover" });
    hover.append(make("title", {}, `${start.toFixed(1)} to ${end.toFixed(1)} s: ${score.toFixed(2)}`));
    return [make("rect", { ...place, y, height, class: verdict }), hover];
  });
  const step = span > 20 ? 10 : span > 8 ? 2 : 1;
  const ticks = [];
  for (let second = Math.ceil(begin / step) * step; second < begin + span; second += step) {
    ticks.push(make("line", { x1: x(second), x2: x(second), y1: 0, y2: 2 * MIDDLE, class: "tick" }));
  }
  svg.replaceChildren(...ticks, make("line", { x1: 0, x2: WIDTH, y1: MIDDLE, y2: MIDDLE, class: "axis" }), ...bars);
  return { begin, end: begin + span, step };
}

/** How far a score lies beyond the threshold that decides it; 0 between the two. */
function beyond(score, { accept, reject }) {
  return score >= accept ? score - accept : Math.max(0, reject - score);
}

function make(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

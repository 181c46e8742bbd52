// The page: sources in, verdicts out. What computes is in worker.js.

import { decode, listen } from "./audio.js";
import { band, chooseEngine, choices, readFile, readManifest, verdictOf } from "./bundle.js";
import { drawTimeline } from "./timeline.js";

const BUNDLE = new URL("bundle/", location.href).href;
const FORGET_AFTER = 5; // seconds without speech after which the next speaker is judged afresh
const KEPT = 4096; // windows that the page remembers, as a stream of the Python package does
const WORDS = { bonafide: "✓ Bona fide: a living voice", spoof: "✗ Spoof: a synthetic voice", undecided: "? Undecided" };
const SIDES = { bonafide: "bona fide", spoof: "spoof", undecided: "between" };
const LENIENT = "✓ Accepted, though it leans synthetic"; // below 0, where a threshold accepts nearly everybody
// What to do about each reason, as `result.remedy` of the Python package says it.
const REMEDIES = {
  "empty": "It holds no samples. Record again.",
  "not finite": "It holds NaN or infinite samples. Repair what produces it; they are not audio.",
  "out of range": "It holds samples beyond 10 times full scale. Give floats within -1 to 1, integers as int16 or int32.",
  "silent": "It never rises above -70 dB of full scale. Unmute the microphone or raise its gain.",
  "too short": "It is shorter than the speech that the bundle needs. Record for longer.",
  "no speech": "Nobody speaks in it. Record again, nearer to the microphone.",
  "too little speech": "It holds less speech than the bundle needs. Record for longer.",
  "clipped": "It is overloaded until little of the waveform is left. Lower the gain and record again.",
  "between": "Its score lies between the two thresholds. Ask for more: another recording, or another proof.",
};
const show = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));

let manifest, live, playing;
let heard = nothing();

// The worker answers messages in order; `ask` gives the promise of an answer.
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let asked = 0;

function ask(action, message = {}, transfer = []) {
  worker.postMessage({ id: ++asked, action, ...message }, transfer);
  return new Promise((resolve, reject) => waiting.set(asked, { resolve, reject }));
}

worker.onmessage = ({ data: { id, answer, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  error === undefined ? resolve(answer) : reject(new Error(error));
};
worker.onerror = () => fail(new Error("The page's worker does not start. Use a current browser; this page needs WebAssembly."));

/** Opens the bundle and lets it prove that it computes here what it was packed with. */
async function start() {
  if (!isSecureContext) throw new Error("Browsers give a microphone only to pages with HTTPS, or on localhost. Offer the page there.");
  manifest = await readManifest(BUNDLE);
  describeModel();
  await ask("load", { url: BUNDLE, manifest });
  const { samples } = await decode(await readFile(BUNDLE, manifest.self_test));
  const scores = await ask("score", { samples });
  const off = Math.max(...manifest.self_test.scores.map((expected, n) => Math.abs(expected - scores[n])));
  if (!(off <= manifest.self_test.tolerance)) {
    throw new Error(`The model fails its self test in this browser: its scores are off by ${off.toFixed(3)}. Use another browser.`);
  }
  say(`Ready. The model passed its self test in this browser (off by ${off.toFixed(3)} at most).`, "ready");
  for (const element of [show.microphone, show.file, show.point]) element.disabled = false;
}

async function judgeFile(file) {
  busy(true);
  reset(file.name);
  try {
    say(`Judging ${file.name}…`, "working");
    const { samples, rate } = await decode(await file.arrayBuffer());
    play(file);
    await ask("open", { rate });
    for (let start = 0; start < samples.length; start += rate) {
      take(await ask("feed", { samples: samples.slice(start, start + rate) }));
    }
    take(await ask("finish"));
    say(`${file.name}: done.`, "done");
  } finally {
    busy(false);
  }
}

async function toggleMicrophone() {
  if (live) return stopMicrophone();
  busy(true);
  try {
    const microphone = await listen(
      (samples) => live && ask("feed", { samples }, [samples.buffer]).then(take, fail),
      () => stopMicrophone().then(() => say("The microphone went away. The verdict is that of everything heard.", "done")),
    );
    reset("Microphone");
    await ask("open", { rate: microphone.rate });
    live = microphone;
    microphone.begin();
    const seconds = manifest.audio.window / manifest.audio.sample_rate;
    say(`Listening at ${microphone.rate / 1000} kHz. The first answer comes after ${seconds} s.`, "working");
  } catch (error) {
    throw error.name === "NotAllowedError" ? new Error("The microphone was refused. Allow it for this page, or choose a file.") : error;
  } finally {
    busy(false);
    pressed(Boolean(live));
  }
}

async function stopMicrophone() {
  const microphone = live;
  live = undefined;
  if (!microphone) return;
  await microphone.stop();
  take(await ask("finish"));
  pressed(false);
  say("Stopped. The verdict is that of everything heard.", "done");
}

/** Takes in what the worker found: the windows that are new and, at the end, the result. */
function take(found) {
  const chosen = band(manifest, show.point.value);
  show.windows.append(...found.windows.map((window) => row(window, chosen)));
  heard.windows.push(...found.windows);
  while (heard.windows.length > KEPT) heard.windows.shift(), show.windows.firstChild.remove();
  heard.finished ||= "reason" in found;
  if (found.speaking) heard.lastSpeech = found.duration;
  Object.assign(heard, found, { windows: heard.windows });
  render();
}

function render() {
  const chosen = band(manifest, show.point.value);
  const last = heard.windows.at(-1);
  const forgotten = heard.duration - heard.lastSpeech > FORGET_AFTER;
  const early = heard.speech < manifest.audio.first_verdict;
  const current = forgotten || early ? undefined : last?.score;
  const score = heard.finished ? (heard.reason ? undefined : heard.score) : current;
  const verdict = score === undefined ? (heard.finished ? "undecided" : "none") : verdictOf(score, chosen);
  const words = verdict === "bonafide" && manifest.calibration && score < 0 ? LENIENT : WORDS[verdict];
  show.verdict.dataset.verdict = verdict;
  write(show.answer, words ?? (live ? "Listening…" : "Nothing heard yet."));
  write(show.detail, detail(verdict, score, chosen, last));
  number(show.score, score, (value) => signed(value));
  number(show.probability, score === undefined ? undefined : probability(score), (value) => value.toFixed(2));
  write(show.heard, `${heard.duration.toFixed(1)} s`);
  write(show.speech, `${heard.speech.toFixed(1)} s`);
  const { begin, end, step } = drawTimeline(show.timeline, heard, chosen);
  write(show.begin, `${begin.toFixed(0)} s`);
  write(show.span, `${end.toFixed(0)} s, a line every ${step} s`);
}

function detail(verdict, score, chosen, last) {
  if (verdict === "none") return live ? (heard.speaking ? "Somebody speaks." : "Nobody speaks.") : "";
  const reason = score === undefined ? heard.reason : "between";
  if (verdict === "undecided") return `${reason[0].toUpperCase()}${reason.slice(1)}. ${REMEDIES[reason]}`;
  const what = heard.finished ? "The whole recording" : `The last window, from ${last.start.toFixed(1)} to ${last.end.toFixed(1)} s`;
  return `${what}, against a threshold of ${signed(verdict === "spoof" ? chosen.reject : chosen.accept)}.`;
}

function probability(score) {
  const prior = manifest.calibration?.prior;
  return prior && 1 / (1 + (Math.exp(-score) * (1 - prior)) / prior);
}

function row({ start, end, speech, score }, chosen) {
  const line = document.createElement("tr");
  line.append(...[start.toFixed(2), end.toFixed(2), speech.toFixed(2), signed(score), SIDES[verdictOf(score, chosen)]].map((text) => cell(text, "td")));
  Object.assign(line.dataset, { start, end, speech, score });
  return line;
}

function describeModel() {
  const engine = chooseEngine(manifest);
  const { model, calibration } = manifest;
  const facts = {
    Name: `${manifest.name} ${manifest.version}`,
    Network: `${model.front_end}, ${model.back_end}, ${(model.parameters / 1e6).toFixed(1)} million parameters, ${engine.precision}`,
    Licence: model.licence,
    Calibrated: calibration ? `on ${calibration.corpus}: ${calibration.bonafide} bona fide, ${calibration.spoof} spoofed` : "no",
  };
  show.model.replaceChildren(...Object.entries(facts).map(([name, fact]) => {
    const pair = document.createElement("div");
    pair.append(cell(name, "dt"), cell(fact, "dd"));
    return pair;
  }));
  show.point.replaceChildren(...choices(manifest).map((name) => new Option(name.replace(", ", " and "), name)));
  show.point.value = manifest.default_operating_point;
  describePoint();
}

function describePoint() {
  const { accept, reject, points } = band(manifest, show.point.value);
  const [{ fpr, corpus }, { fnr }] = [points[0], points.at(-1)];
  const rate = ({ value, low, high }) => `${percent(value)} (${percent(low)} to ${percent(high)})`;
  const rates = fpr && fnr ? ` On ${corpus}: ${rate(fpr)} of spoofs were accepted, and ${rate(fnr)} of living voices were not.` : "";
  const between = reject < accept ? `, spoof below ${signed(reject)}, undecided between` : " on";
  write(show.rates, `Bona fide from ${signed(accept)}${between}.${rates}`);
}

function cell(text, kind) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}

function nothing() {
  return { windows: [], duration: 0, speech: 0, speaking: false, lastSpeech: 0, finished: false };
}

/** Forgets what was heard, and names what comes. */
function reset(name) {
  heard = nothing();
  write(show.name, name);
  show.player.hidden = true;
  show.player.removeAttribute("src");
  show.windows.replaceChildren();
  render();
}

/** Lets the user hear what was judged. */
function play(file) {
  URL.revokeObjectURL(playing);
  playing = URL.createObjectURL(file);
  show.player.src = playing;
  show.player.hidden = false;
}

function changeThreshold() {
  const chosen = band(manifest, show.point.value);
  show.windows.replaceChildren(...heard.windows.map((window) => row(window, chosen)));
  describePoint();
  render();
}

/** Writes only what changes, so that a screen reader says only what is news. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function number(element, value, format) {
  element.value = value ?? "";
  write(element, value === undefined ? "–" : format(value));
}

function busy(working) {
  show.microphone.disabled = show.file.disabled = working;
}

function pressed(listening) {
  show.microphone.setAttribute("aria-pressed", String(listening));
  write(show.microphone, listening ? "Stop listening" : "Listen to the microphone");
  show.file.disabled = listening;
}

function say(text, state) {
  show.status.dataset.state = state;
  write(show.status, text);
}

const fail = (error) => say(error.message, "error");
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const percent = (value) => `${(100 * value).toFixed(1)} %`;

show.microphone.onclick = () => toggleMicrophone().catch(fail);
show.file.onchange = () => show.file.files[0] && judgeFile(show.file.files[0]).catch(fail);
show.point.onchange = changeThreshold;
document.ondragover = (event) => (event.preventDefault(), show.drop.classList.add("over"));
document.ondragleave = () => show.drop.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  show.drop.classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file && !show.file.disabled) judgeFile(file).catch(fail);
};

// Once everything is stored, the page works offline. Without a service worker (private windows) it works online only.
navigator.serviceWorker?.register("sw.js", { type: "module" }).catch(() => {});
start().catch(fail);

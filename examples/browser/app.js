// The page: sources in, verdicts out. What computes is in worker.js.

import { decode, listen } from "./audio.js";
import { chooseEngine, operatingPoint, readFile, readManifest } from "./bundle.js";
import { drawTimeline } from "./timeline.js";

const BUNDLE = new URL("bundle/", location.href).href;
const FORGET_AFTER = 5; // seconds without speech after which the next speaker is judged afresh
const KEPT = 4096; // windows that the page remembers, as a stream of the Python package does
const WORDS = { bonafide: "✓ Bona fide: a living voice", spoof: "✗ Spoof: a synthetic voice", undecided: "? Undecided" };
const show = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));

let manifest, live;
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
  try {
    say(`Judging ${file.name}…`, "working");
    const { samples, rate } = await decode(await file.arrayBuffer());
    reset();
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
    reset();
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
  const { threshold } = operatingPoint(manifest, show.point.value);
  show.windows.append(...found.windows.map((window) => row(window, threshold)));
  heard.windows.push(...found.windows);
  while (heard.windows.length > KEPT) heard.windows.shift(), show.windows.firstChild.remove();
  heard.finished ||= "reason" in found;
  if (found.speaking) heard.lastSpeech = found.duration;
  Object.assign(heard, found, { windows: heard.windows });
  render();
}

function render() {
  const { threshold } = operatingPoint(manifest, show.point.value);
  const last = heard.windows.at(-1);
  const forgotten = heard.duration - heard.lastSpeech > FORGET_AFTER;
  const early = heard.speech < manifest.audio.first_verdict;
  const current = forgotten || early ? undefined : last?.score;
  const score = heard.finished ? (heard.reason ? undefined : heard.score) : current;
  const verdict = score === undefined ? (heard.finished ? "undecided" : "none") : score >= threshold ? "bonafide" : "spoof";
  show.verdict.dataset.verdict = verdict;
  write(show.answer, WORDS[verdict] ?? (live ? "Listening…" : "Nothing heard yet."));
  write(show.detail, detail(verdict, threshold, last));
  number(show.score, score, (value) => signed(value));
  number(show.probability, score === undefined ? undefined : probability(score), (value) => value.toFixed(2));
  write(show.heard, `${heard.duration.toFixed(1)} s`);
  write(show.speech, `${heard.speech.toFixed(1)} s`);
  write(show.span, drawTimeline(show.timeline, heard, threshold));
}

function detail(verdict, threshold, last) {
  if (verdict === "none") return live ? (heard.speaking ? "Somebody speaks." : "Nobody speaks.") : "";
  if (verdict === "undecided") return `${heard.reason[0].toUpperCase()}${heard.reason.slice(1)}.`;
  const what = heard.finished ? "The whole recording" : `The last window, from ${last.start.toFixed(1)} to ${last.end.toFixed(1)} s`;
  return `${what}, against a threshold of ${signed(threshold)}.`;
}

function probability(score) {
  const prior = manifest.calibration?.prior;
  return prior && 1 / (1 + (Math.exp(-score) * (1 - prior)) / prior);
}

function row({ start, end, speech, score }, threshold) {
  const line = document.createElement("tr");
  line.append(...[start.toFixed(2), end.toFixed(2), speech.toFixed(2), signed(score), score >= threshold ? "bona fide" : "spoof"].map((text) => cell(text, "td")));
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
  show.point.replaceChildren(...manifest.operating_points.map(({ name }) => new Option(name, name)));
  show.point.value = manifest.default_operating_point;
  describePoint();
}

function describePoint() {
  const { threshold, fpr, fnr, corpus } = operatingPoint(manifest, show.point.value);
  const rate = ({ value, low, high }) => `${percent(value)} (${percent(low)} to ${percent(high)})`;
  const rates = fpr && fnr ? ` On ${corpus} ${rate(fpr)} of spoofs were accepted and ${rate(fnr)} of living voices rejected.` : "";
  write(show.rates, `Bona fide from ${signed(threshold)} on.${rates}`);
}

function cell(text, kind) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}

function nothing() {
  return { windows: [], duration: 0, speech: 0, speaking: false, lastSpeech: 0, finished: false };
}

function reset() {
  heard = nothing();
  show.windows.replaceChildren();
  render();
}

function changeThreshold() {
  const { threshold } = operatingPoint(manifest, show.point.value);
  show.windows.replaceChildren(...heard.windows.map((window) => row(window, threshold)));
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

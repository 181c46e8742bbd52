// The follower: walks along one signal, finds speech and windows in it, and has the windows scored, as the Python package does.

import { Resampler, joined } from "./resample.js";
import { CHUNK } from "./speech.js";

const WINDOW_SPEECH = 0.5; // seconds of speech from which a window is scored
const SILENCE = 10 ** (-70 / 20);

export class Follower {
  #contract;
  #gate;
  #score;
  #resampler;
  #samples = new Float32Array(0); // the last stretch of the signal, which begins at #first
  #first = 0;
  #chunks = []; // the gate's decisions from the beginning: a flag each 32 ms
  #gridEnd;
  #peak = 0;
  #clipped = false;
  #carry;
  #sum = 0;
  #weight = 0;
  #speech = 0;

  /**
   * `contract` is the manifest's audio, `gate` a SpeechGate, `rate` the signal's; `score` gives the score of the window that some
   * samples end with. An engine with a `carry` ({chunk, context}) hears so much before each window, in whole chunks.
   */
  constructor(contract, gate, score, rate, carry) {
    [this.#contract, this.#gate, this.#score] = [contract, gate, score];
    this.#carry = carry ?? { chunk: 1, context: 0 };
    this.#resampler = new Resampler(rate, contract.sample_rate);
    this.#gridEnd = contract.window;
  }

  get #end() {
    return this.#first + this.#samples.length;
  }

  /** Up to where the gate has decided; its last chunk may reach beyond the end. */
  get #gated() {
    return Math.min(this.#end, this.#chunks.length * CHUNK);
  }

  /** What there is to know so far: seconds of audio and of speech, and whether somebody speaks now. */
  get state() {
    const rate = this.#contract.sample_rate;
    return { duration: this.#end / rate, speech: this.#speech / rate, speaking: this.#chunks.at(-1) ?? false };
  }

  /** Takes in more of the signal; gives the windows that were scored, {start, end, score, speech} in seconds. */
  async feed(samples) {
    for (const sample of samples) this.#peak = Math.max(this.#peak, Math.abs(sample));
    await this.#hear(this.#resampler.feed(samples));
    return this.#windows();
  }

  /** The windows that were still to come, and the score of everything: {windows, score, reason, ...state}. */
  async finish() {
    await this.#hear(this.#resampler.finish());
    const end = this.#end;
    const rest = end - this.#chunks.length * CHUNK;
    if (rest > 0) {
      await this.#decide(joined(this.#samples.slice(-rest), new Float32Array(CHUNK - rest)));
      if (this.#chunks.at(-1)) this.#speech -= CHUNK - rest;
    }
    const windows = await this.#windows();
    const covered = this.#gridEnd > this.#contract.window ? this.#gridEnd - this.#contract.hop : 0;
    if (covered < end) windows.push(...(await this.#consider(end)));
    const score = this.#weight ? this.#sum / this.#weight : null;
    return { windows, score, reason: this.#reason(score), ...this.state, speaking: false };
  }

  async #hear(samples) {
    this.#samples = joined(this.#samples, samples);
    while ((this.#chunks.length + 1) * CHUNK <= this.#end) {
      const start = this.#chunks.length * CHUNK - this.#first;
      await this.#decide(this.#samples.subarray(start, start + CHUNK));
    }
  }

  async #decide(chunk) {
    const speech = await this.#gate.decide(chunk);
    this.#chunks.push(speech);
    if (speech) this.#speech += CHUNK;
  }

  async #windows() {
    const scored = [];
    for (; this.#gridEnd <= this.#gated; this.#gridEnd += this.#contract.hop) {
      scored.push(...(await this.#consider(this.#gridEnd)));
    }
    const drop = Math.max(0, this.#gated - this.#contract.window - this.#carry.context - this.#first);
    this.#samples = this.#samples.slice(drop);
    this.#first += drop;
    return scored;
  }

  async #consider(end) {
    const { window, sample_rate: rate } = this.#contract;
    const start = Math.max(0, end - window);
    const speech = this.#speechWithin(start, end);
    if (speech < WINDOW_SPEECH * rate) return [];
    const samples = this.#samples.slice(start - this.#first, end - this.#first);
    if (isClipped(samples)) {
      this.#clipped = true;
      return [];
    }
    const score = await this.#score(end < window ? this.#after(tiled(samples, window)) : this.#before(end));
    this.#sum += speech * score;
    this.#weight += speech;
    return [{ start: start / rate, end: end / rate, score, speech: speech / rate }];
  }

  /** The window that ends there, and what an engine with a carry hears before it. */
  #before(end) {
    const { window } = this.#contract;
    const { context } = this.#carry;
    const begin = end - window - context;
    const samples = this.#samples.slice(Math.max(begin, 0) - this.#first, end - this.#first);
    if (begin >= 0) return samples;
    return joined(this.#after(this.#samples.slice(0, window)).slice(context + begin, context), samples);
  }

  /** A window after itself: before its beginning a signal is taken to have repeated its first window. */
  #after(window) {
    const { length } = window;
    const { context } = this.#carry;
    const begin = length - (context % length);
    return Float32Array.from({ length: context + length }, (_, n) => window[(begin + n) % length]);
  }

  /** How many samples between two positions are speech. */
  #speechWithin(start, end) {
    let speech = 0;
    for (let n = Math.floor(start / CHUNK); n * CHUNK < end; n++) {
      if (this.#chunks[n]) speech += Math.min(end, (n + 1) * CHUNK) - Math.max(start, n * CHUNK);
    }
    return speech;
  }

  /** Why there is no verdict; the words are those of the Python package. */
  #reason(score) {
    const { duration, speech } = this.state;
    const needed = this.#contract.minimum_speech;
    if (duration === 0) return "empty";
    if (this.#peak < SILENCE) return "silent";
    if (duration < needed) return "too short";
    if (speech === 0) return "no speech";
    if (score === null && this.#clipped) return "clipped";
    return speech < needed || score === null ? "too little speech" : null;
  }
}

/** What is shorter than a window is repeated from its beginning. */
function tiled(samples, length) {
  return Float32Array.from({ length }, (_, n) => samples[n % samples.length]);
}

/** Whether overload has left little but two levels of the waveform; see levels.py for the figures. */
function isClipped(samples) {
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  const above = (level) => samples.reduce((count, sample) => count + (Math.abs(sample) >= level * peak), 0);
  return peak > 0 && above(0.7) > 0.7 * above(0.1);
}

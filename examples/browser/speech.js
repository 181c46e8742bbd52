// The speech gate: Silero's voice activity detector (version 6, MIT), with the thresholds of the Python package.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";

export const CHUNK = 512; // samples at 16 kHz for which one decision is made
const CONTEXT = 64; // samples of the chunk before that the network sees again
const [BEGIN, END] = [0.5, 0.35];
const SETTLED = 31; // chunks of digital silence after which the network need not run

export class SpeechGate {
  #session;
  #context = new Float32Array(CONTEXT);
  #state = new ort.Tensor("float32", new Float32Array(2 * 128), [2, 1, 128]);
  #rate = new ort.Tensor("int64", BigInt64Array.of(16000n), []);
  #speaking = false;
  #empty = 0;

  constructor(session) {
    this.#session = session;
  }

  /** Whether somebody speaks in the next chunk (CHUNK samples). Has memory: one gate serves one signal. */
  async decide(chunk) {
    this.#empty = chunk.some((sample) => sample !== 0) ? 0 : this.#empty + 1;
    if (this.#empty > SETTLED) return (this.#speaking = false);
    const input = new Float32Array(CONTEXT + CHUNK);
    input.set(this.#context);
    input.set(chunk.map((sample) => Math.min(1, Math.max(-1, sample))), CONTEXT);
    this.#context = input.slice(CHUNK);
    const feeds = { input: new ort.Tensor("float32", input, [1, input.length]), state: this.#state, sr: this.#rate };
    const { output, stateN } = await this.#session.run(feeds);
    this.#state = stateN;
    return (this.#speaking = output.data[0] >= (this.#speaking ? END : BEGIN));
  }
}

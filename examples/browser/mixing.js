// Several channels become one signal, as in the Python package (vivavoce/decoding/mixing.py, which says why): a constant offset is
// taken off each of them, and where their mean would lose a voice, the loudest one stands for all.

const STEP = 0.032; // seconds that are taken at once
const [LEVEL, OFFSET] = [30, 2].map((seconds) => Math.exp(-STEP / seconds));
const [LEFT, GONE, SILENCE] = [1, 2, 1e-3];
const [LOST, FOUND, LOUDER] = [0.1, 0.2, 4];

export class Mixer {
  #channels;
  #held;
  #filled = 0;
  #weights = [0, 0];
  #mixed = 0;
  #alone = null;

  constructor(channels, rate) {
    this.#channels = Array.from({ length: channels }, () => ({ power: 0, mean: 0, taken: null, energy: 0 }));
    this.#held = Array.from({ length: channels }, () => new Float32Array(roundHalfEven(STEP * rate)));
  }

  /** The samples of each channel (an array of Float32Array) as one signal, as far as it is ready. */
  feed(channels) {
    const size = this.#held[0].length;
    const length = channels[0].length;
    const output = new Float32Array(Math.floor((this.#filled + length) / size) * size);
    let made = 0;
    for (let at = 0; at < length; ) {
      const count = Math.min(size - this.#filled, length - at);
      this.#held.forEach((held, n) => held.set(channels[n].subarray(at, at + count), this.#filled));
      at += count;
      this.#filled += count;
      if (this.#filled === size) {
        output.set(this.#step(this.#held), made);
        made += size;
        this.#filled = 0;
      }
    }
    return output;
  }

  /** The rest, once the signal is over. */
  finish() {
    const rest = this.#held.map((held) => held.subarray(0, this.#filled));
    this.#filled = 0;
    return rest[0].length ? this.#step(rest) : new Float32Array(0);
  }

  #step(step) {
    this.#weights = [LEVEL * this.#weights[0] + 1, OFFSET * this.#weights[1] + 1];
    return this.#mix(this.#channels.map((state, n) => this.#centred(state, step[n])));
  }

  #centred(state, samples) {
    const usable = Float64Array.from(samples, finite);
    const mean = usable.reduce((sum, value) => sum + value, 0) / usable.length;
    const power = usable.reduce((sum, value) => sum + (value - mean) ** 2, 0) / usable.length;
    state.power += (power - state.power) / this.#weights[0];
    state.mean += (mean - state.mean) / this.#weights[1];
    const level = Math.max(Math.sqrt(state.power), SILENCE);
    const excess = Math.min(Math.max((Math.abs(state.mean) / level - LEFT) / (GONE - LEFT), 0), 1);
    const taken = state.mean * excess;
    const before = state.taken ?? taken;
    state.taken = taken;
    if (!before && !taken) return samples;
    return Float32Array.from(samples, (value, n) => value - (before + ((taken - before) * n) / samples.length));
  }

  #mix(step) {
    const mono = step[0].map((_, n) => step.reduce((sum, channel) => sum + channel[n], 0) / step.length);
    if (step.length === 1) return step[0];
    this.#channels.forEach((state, n) => (state.energy = LEVEL * state.energy + energy(step[n])));
    this.#mixed = LEVEL * this.#mixed + energy(mono);
    const energies = this.#channels.map((state) => state.energy);
    const loudest = energies.indexOf(Math.max(...energies));
    if (this.#mixed >= (this.#alone === null ? LOST : FOUND) * energies[loudest]) this.#alone = null;
    else if (this.#alone === null || energies[loudest] > LOUDER * energies[this.#alone]) this.#alone = loudest;
    return this.#alone === null ? mono : step[this.#alone];
  }
}

const finite = (value) => (Number.isFinite(value) ? value : 0);

const energy = (samples) => samples.reduce((sum, value) => sum + finite(value) ** 2, 0);

const roundHalfEven = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));

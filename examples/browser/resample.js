// Sample rates: a linear-phase polyphase filter, piece by piece. It passes 0.913 of the lower Nyquist frequency and lets nothing
// through above that frequency, as soxr does at the quality HQ, which the Python package uses.

const PASSBAND = 0.913;
const ATTENUATION = 120; // dB
const BETA = 0.1102 * (ATTENUATION - 8.7); // Kaiser's formula for more than 50 dB.

export class Resampler {
  #from;
  #to;
  #up;
  #down;
  #half;
  #phases;
  #tail = new Float32Array(0);
  #tailStart = 0;
  #fed = 0;
  #made = 0;

  /** Changes mono samples from the rate `from` to the rate `to`, both in hertz. */
  constructor(from, to) {
    const divisor = gcd(from, to);
    [this.#from, this.#to, this.#up, this.#down] = [from, to, to / divisor, from / divisor];
    if (from === to) return;
    const nyquist = Math.min(from, to) / 2 / from; // cycles a sample of the input
    const width = (1 - PASSBAND) * nyquist;
    this.#half = Math.ceil((ATTENUATION - 7.95) / (2.285 * 2 * Math.PI * width) / 2);
    this.#phases = Array.from({ length: this.#up }, (_, phase) => taps(phase / this.#up, this.#half, nyquist - width / 2));
    this.#tail = new Float32Array(this.#half);
    this.#tailStart = -this.#half;
  }

  /** The samples that are ready, possibly none. */
  feed(samples) {
    this.#fed += samples.length;
    if (this.#from === this.#to) return samples;
    const input = joined(this.#tail, samples);
    const ready = Math.floor(((this.#tailStart + input.length - this.#half) * this.#up - 1) / this.#down) + 1;
    const output = new Float32Array(Math.max(0, ready - this.#made));
    for (let n = 0; n < output.length; n++) output[n] = this.#sample(input, this.#made + n);
    this.#made += output.length;
    const keep = Math.floor((this.#made * this.#down) / this.#up) - this.#half + 1;
    this.#tail = input.slice(keep - this.#tailStart);
    this.#tailStart = keep;
    return output;
  }

  /** The rest, once the signal is over. */
  finish() {
    if (this.#from === this.#to) return new Float32Array(0);
    const left = Math.round((this.#fed * this.#to) / this.#from) - this.#made;
    return this.feed(new Float32Array(2 * this.#half)).slice(0, Math.max(0, left));
  }

  #sample(input, n) {
    const position = n * this.#down;
    const kernel = this.#phases[position % this.#up];
    const first = Math.floor(position / this.#up) - this.#half + 1 - this.#tailStart;
    let sum = 0;
    for (let k = 0; k < kernel.length; k++) sum += kernel[k] * input[first + k];
    return sum;
  }
}

export function joined(...parts) {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A sinc of that cutoff (cycles a sample) under Kaiser's window, `offset` samples late, its gain 1 at 0 Hz. */
function taps(offset, half, cutoff) {
  const kernel = Float64Array.from({ length: 2 * half }, (_, k) => {
    const t = offset - (k - half + 1);
    const x = 2 * cutoff * t;
    const inside = Math.max(0, 1 - (t / half) ** 2);
    return (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)) * bessel(BETA * Math.sqrt(inside));
  });
  const gain = kernel.reduce((sum, value) => sum + value);
  return kernel.map((value) => value / gain);
}

/** The modified Bessel function of the first kind and order 0, by its series. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / 2 / k) ** 2;
  return sum;
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

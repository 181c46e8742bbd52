// What runs on the audio thread: the microphone's channels, mixed, in blocks for the page.

import { Mixer } from "./mixing.js";

class Recorder extends AudioWorkletProcessor {
  #channels = 0;
  #mixer;

  process([channels]) {
    if (!channels.length) return true;
    if (channels.length !== this.#channels) {
      this.#channels = channels.length;
      this.#mixer = new Mixer(channels.length, sampleRate);
    }
    const samples = this.#mixer.feed(channels);
    if (samples.length) this.port.postMessage(samples, [samples.buffer]);
    return true;
  }
}

registerProcessor("recorder", Recorder);

// What runs on the audio thread: the microphone's samples, as the mean of its channels, in blocks for the page.

const BLOCK = 2048;

class Recorder extends AudioWorkletProcessor {
  #block = new Float32Array(BLOCK);
  #filled = 0;

  process([channels]) {
    for (let n = 0; n < (channels[0]?.length ?? 0); n++) {
      this.#block[this.#filled++] = channels.reduce((sum, channel) => sum + channel[n], 0) / channels.length;
      if (this.#filled === BLOCK) {
        this.port.postMessage(this.#block, [this.#block.buffer]);
        this.#block = new Float32Array(BLOCK);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);

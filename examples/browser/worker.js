// The worker: everything that computes, so that the page never stutters. One signal at a time; messages are answered in order.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { chooseEngine, readFile } from "./bundle.js";
import { Follower } from "./follower.js";
import { SpeechGate } from "./speech.js";

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1; // More need headers for cross-origin isolation, which a plain file server does not send.
ort.env.wasm.wasmPaths = { wasm: new URL("./vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };

let model, gate, follower;

const actions = {
  /** Opens the bundle in the folder `url`, and the speech gate. */
  async load({ url, manifest }) {
    const engine = chooseEngine(manifest);
    // Of the inputs with defaults, the state of a stream's beginning, it would warn one by one.
    const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
    const session = await ort.InferenceSession.create(await readFile(url, engine), options);
    model = { manifest, engine, session };
    gate = await ort.InferenceSession.create(new URL("./vendor/silero_vad_v6.onnx", import.meta.url).href, options);
  },

  /** The raw scores of consecutive windows, for the bundle's self test. */
  async score({ samples }) {
    const { window } = model.manifest.audio;
    const scores = [];
    for (let start = 0; start + window <= samples.length; start += window) {
      scores.push(await raw(samples.slice(start, start + window)));
    }
    return scores;
  },

  async open({ rate }) {
    follower = new Follower(model.manifest.audio, new SpeechGate(gate), calibrated, rate, model.engine.carry);
  },

  async feed({ samples }) {
    const windows = await follower.feed(samples);
    return { windows, ...follower.state };
  },

  async finish() {
    return follower.finish();
  },
};

/** The engine's score of one window. Only the input and the output that the manifest names are certain. */
async function raw(samples) {
  const { engine, session } = model;
  const result = await session.run({ [engine.input]: new ort.Tensor("float32", samples, [1, samples.length]) }, [engine.output]);
  return result[engine.output].data[0];
}

async function calibrated(samples) {
  const { calibration } = model.manifest;
  const score = await raw(samples);
  return calibration ? calibration.scale * score + calibration.offset : score;
}

let before = Promise.resolve();
self.onmessage = ({ data: { id, action, ...message } }) => {
  before = before.then(async () => {
    try {
      self.postMessage({ id, answer: await actions[action](message) });
    } catch (error) {
      self.postMessage({ id, error: error.message });
    }
  });
};

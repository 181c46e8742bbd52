// Audio in: a file's samples at its own rate, or a microphone's as they come.

import { Mixer } from "./mixing.js";
import { joined } from "./resample.js";

/** A recording (ArrayBuffer) as {samples, rate}, mono. Throws where the browser cannot decode it. */
export async function decode(bytes) {
  const rate = ownRate(new DataView(bytes));
  try {
    // The context's rate is the file's, so that the browser does not resample; its resamplers differ, and ours is measured.
    const audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes.slice(0));
    const channels = Array.from({ length: audio.numberOfChannels }, (_, n) => audio.getChannelData(n));
    const mixer = new Mixer(channels.length, rate);
    return { samples: joined(mixer.feed(channels), mixer.finish()), rate };
  } catch {
    throw new Error("The browser cannot decode this file. Give WAV, FLAC, MP3, Ogg or another format that it plays.");
  }
}

/** Listens until `stop` of what it gives is called; `hear` gets each block of samples, `lost` is called where the device goes. */
export async function listen(hear, lost) {
  // What a call app would switch on changes the voice; the model was not made for it.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const context = new AudioContext();
  await context.audioWorklet.addModule("recorder.js");
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  recorder.port.onmessage = ({ data }) => hear(data);
  stream.getAudioTracks()[0].onended = lost;
  return {
    rate: context.sampleRate,
    begin: () => context.createMediaStreamSource(stream).connect(recorder),
    async stop() {
      stream.getTracks().forEach((track) => track.stop());
      await context.close();
    },
  };
}

/** The sample rate that a file's header names; 48 kHz for formats that hide it. */
function ownRate(view) {
  const tag = (at) => (at + 4 <= view.byteLength ? view.getUint32(at) : 0);
  const name = (text) => [...text].reduce((word, letter) => word * 256 + letter.charCodeAt(0), 0);
  let rate = 48000;
  if (tag(0) === name("RIFF")) rate = waveRate(view, tag, name("fmt "));
  else if (tag(0) === name("fLaC")) rate = tag(18) >>> 12;
  else if (tag(0) === name("OggS") && tag(29) === name("vorb")) rate = view.getUint32(40, true);
  else rate = mp3Rate(view, tag) ?? rate;
  return rate >= 8000 && rate <= 96000 ? rate : 48000;
}

function waveRate(view, tag, wanted) {
  for (let at = 12; at + 16 < view.byteLength; at += 8 + view.getUint32(at + 4, true)) {
    if (tag(at) === wanted) return view.getUint32(at + 12, true);
  }
  return 48000;
}

function mp3Rate(view, tag) {
  let at = 0;
  if (tag(0) >>> 8 === 0x494433) {
    // An ID3 tag, whose length has seven bits a byte.
    at = 10 + [6, 7, 8, 9].reduce((size, n) => size * 128 + view.getUint8(n), 0);
  }
  const header = tag(at);
  if (header >>> 21 !== 0x7ff) return undefined;
  const base = [44100, 48000, 32000][(header >>> 10) & 3];
  return base / { 3: 1, 2: 2, 0: 4 }[(header >>> 19) & 3];
}

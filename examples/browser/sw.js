// The service worker: keeps a copy of everything, so that the page works offline. While there is a network, the network is asked
// first, so that a new bundle and its manifest arrive together.

import { chooseEngine, readManifest } from "./bundle.js";

const CACHE = "vivavoce";
const PAGE = [
  ...["./", "style.css", "app.js", "audio.js", "bundle.js", "follower.js", "mixing.js", "recorder.js", "resample.js"],
  ...["speech.js", "timeline.js", "worker.js", "vendor/ort.wasm.bundle.min.mjs", "vendor/ort-wasm-simd-threaded.wasm"],
  ...["vendor/silero_vad_v6.onnx", "bundle/manifest.json"],
];

async function store() {
  const manifest = await readManifest("bundle/");
  const files = [chooseEngine(manifest).file, manifest.self_test.file].map((file) => `bundle/${file}`);
  await (await caches.open(CACHE)).addAll([...PAGE, ...files]);
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const copy = await cache.match(request, { ignoreSearch: true });
    if (copy) return copy;
    throw error;
  }
}

self.oninstall = (event) => event.waitUntil(store().then(() => self.skipWaiting()));
self.onactivate = (event) => event.waitUntil(self.clients.claim());
self.onfetch = (event) => event.request.method === "GET" && event.respondWith(answer(event.request));

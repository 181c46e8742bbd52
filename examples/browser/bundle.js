// A bundle in the browser: its manifest, and its files once their sha256 has been checked. docs/bundle.md specifies the format.

export const FORMAT = "vivavoce-bundle/1";

/** The manifest of the bundle in the folder `url`. Throws where it is not there or of another format. */
export async function readManifest(url) {
  const manifest = JSON.parse(new TextDecoder().decode(await download(url + "manifest.json")));
  if (manifest.format !== FORMAT) {
    throw new Error(`The bundle has the format ${manifest.format}; this page reads ${FORMAT}. Take a newer page.`);
  }
  // What a manifest may leave out, with the values that docs/bundle.md gives.
  manifest.audio = { sample_rate: 16000, minimum_speech: 1, first_verdict: 2, ...manifest.audio };
  manifest.engines = manifest.engines.map((engine) => ({ input: "samples", output: "score", ...engine }));
  if (manifest.calibration) manifest.calibration = { prior: 0.5, ...manifest.calibration };
  return manifest;
}

/** The content of one file (ArrayBuffer), checked: what is checked is what is used. */
export async function readFile(url, { file, sha256 }) {
  const content = await download(url + file);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) {
    throw new Error(`${file} is not the file that the manifest names. It was damaged or replaced; copy the bundle again.`);
  }
  return content;
}

/** The first engine that a browser can run: ONNX, in one file. */
export function chooseEngine(manifest) {
  const engine = manifest.engines.find(({ kind, data = {} }) => kind === "onnx" && Object.keys(data).length === 0);
  if (!engine) throw new Error(`The bundle "${manifest.name}" has no ONNX engine in one file; this page runs no other kind.`);
  return engine;
}

/** The names between which the page lets choose: every single threshold, and every two whose error rates are equal. */
export function choices(manifest) {
  const names = manifest.operating_points.map(({ name }) => name);
  const rates = names.filter((name) => name.startsWith("fpr=")).map((name) => name.slice(4));
  return [...names, ...rates.filter((rate) => names.includes(`fnr=${rate}`)).map((rate) => `fpr=${rate}, fnr=${rate}`)];
}

/** The thresholds of a choice, as the Python package has them: bona fide from `accept` on, spoof below `reject`. */
export function band(manifest, choice) {
  const points = choice.split(", ").map((name) => manifest.operating_points.find((point) => point.name === name));
  let [accept, reject] = [points[0].threshold, points.at(-1).threshold];
  if (accept < reject) accept = reject = (accept + reject) / 2;
  // What is likelier from a living voice is never called spoof.
  if (manifest.calibration) reject = Math.min(reject, 0, accept);
  return { accept, reject, points };
}

export function verdictOf(score, { accept, reject }) {
  return score >= accept ? "bonafide" : score < reject ? "spoof" : "undecided";
}

async function download(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be read (${response.status}). Run prepare.py again.`);
  return response.arrayBuffer();
}

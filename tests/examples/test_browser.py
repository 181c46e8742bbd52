"""The page in a browser: headless Chromium, with a recording as its microphone, gives the scores of the Python package.

Chromium comes from Debian's packages, onnxruntime-web and axe-core from npm; where they cannot be had, the tests skip.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from speaking import RATE, speech

from vivavoce import Detector, Result
from vivavoce.audio import load
from vivavoce.band import choose
from vivavoce.bundle import Bundle, default_bundle
from vivavoce.files import sha256
from vivavoce.result import REMEDIES

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "browser"
AUDIO = ROOT / "examples" / "audio"
PATIENCE = 240_000
"""Milliseconds, for machines on which much else runs."""

AXE = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="

# What the page sends to its worker, so that the same samples can be given to the Python package.
OVERHEAR = """
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, transfer) {
  if (message.action === "open") window.heard = { rate: message.rate, samples: [] };
  if (message.action === "feed") window.heard.samples.push(...message.samples);
  return post.call(this, message, transfer);
};
"""


def npm_or_skip(module: ModuleType, fetch: Any, *arguments: Any) -> None:
    """Calls what fetches from npm; skips where it cannot."""
    try:
        fetch(*arguments)
    except SystemExit as refused:
        pytest.skip(str(refused))


@pytest.fixture(scope="module")
def chromium() -> str:
    """The path of Chromium, installed from Debian's packages where that is possible and it is missing."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if not any(map(shutil.which, names)) and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "chromium"], check=False, capture_output=True)
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip("Chromium is not installed, and cannot be installed here")


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    specification = importlib.util.spec_from_file_location("prepare", PAGE / "prepare.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["prepare"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(prepare: ModuleType) -> Path:
    """The page with the embedded bundle. It stays in the folder that git ignores, so that npm is asked once."""
    npm_or_skip(prepare, prepare.main, [])
    return PAGE / "site"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


class Server:
    """A folder, offered on this machine."""

    def __init__(self, folder: Path) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    server = Server(site)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium that takes ten seconds of speech for its microphone."""
    voice = tmp_path_factory.mktemp("microphone") / "voice.wav"
    soundfile.write(voice, soxr.resample(speech(10), RATE, 48_000), 48_000, subtype="PCM_16")
    options = ("--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*options, f"--use-file-for-fake-audio-capture={voice}%noloop"]
        )
        yield browser
        browser.close()


def wait_for(page: Any, *states: str) -> str:
    """The status line, once it is in one of the states."""
    page.wait_for_selector(", ".join(f"#status[data-state={state}]" for state in states), timeout=PATIENCE)
    return str(page.text_content("#status"))


def opened(browser: Any, url: str, **options: Any) -> Any:
    """A page of its own; its problems fail the test."""
    page = browser.new_context(permissions=["microphone"], **options).new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page raised {error}"))
    page.add_init_script(OVERHEAR)
    page.goto(url)
    return page


@pytest.fixture(scope="module")
def page(browser: Any, server: Server) -> Any:
    page = opened(browser, server.url, service_workers="block")
    status = wait_for(page, "ready", "error")
    assert "passed its self test" in status
    return page


def judge(page: Any, file: Path) -> None:
    page.evaluate("document.querySelector('#status').dataset.state = ''")
    page.set_input_files("#file", file)
    status = wait_for(page, "done", "error")
    assert status == f"{file.name}: done."


def segments(page: Any) -> np.ndarray[Any, Any]:
    """Start, end and score of each window in the page's table."""
    names = "({start, end, score}) => [start, end, score].map(Number)"
    return np.array(page.eval_on_selector_all("#windows tr", f"rows => rows.map(row => row.dataset).map({names})"))


def agrees(page: Any, result: Result) -> None:
    """The page shows that result: the same windows, and scores within twice what the bundle allows its engines on the same
    samples, because the browser's kernels for INT8 are others and its decoders and sample rates come on top."""
    manifest = Bundle(default_bundle()).manifest
    assert manifest.calibration
    tolerance = 2 * manifest.self_test.tolerance * manifest.calibration.scale
    expected = np.array([(one.start, one.end, one.score) for one in result.segments])
    found = segments(page)
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=0.01)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=tolerance)
    assert float(page.get_attribute("#score", "value")) == pytest.approx(result.score, abs=tolerance)
    if abs(result.score - result.threshold) > tolerance:
        assert page.get_attribute("#verdict", "data-verdict") == result.verdict


@pytest.mark.parametrize(
    "name",
    [
        "human_june_fr.flac",
        "synthetic_kokoro_ja.mp3",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("synthetic_piper_en.flac", "human_sphinx_en.flac")),
    ],
)
def test_a_file_scores_as_in_python(page: Any, name: str) -> None:
    judge(page, AUDIO / name)
    agrees(page, Detector().detect(AUDIO / name))


def test_the_microphone_scores_as_in_python(page: Any) -> None:
    page.click("#microphone")
    page.wait_for_selector("#microphone[aria-pressed=true]")
    page.wait_for_selector("#windows tr:nth-child(2)", state="attached", timeout=PATIENCE)
    assert page.get_attribute("#verdict", "data-verdict") in ("bonafide", "spoof"), "a verdict while listening"
    page.click("#microphone")
    wait_for(page, "done")
    heard = page.evaluate("window.heard")
    samples = np.array(heard["samples"], np.float32)
    assert len(samples) > 5 * heard["rate"]
    assert np.abs(samples).max() > 0.05, "the recording is heard"
    agrees(page, Detector().detect((samples, heard["rate"])))


def test_another_threshold_gives_another_verdict_without_scoring_again(page: Any) -> None:
    judge(page, AUDIO / "human_june_fr.flac")
    before = segments(page)
    result = Detector().detect(AUDIO / "human_june_fr.flac")
    assert result.score is not None
    for point in Bundle(default_bundle()).manifest.operating_points:
        page.select_option("#point", point.name)
        shown = float(page.get_attribute("#score", "value"))
        band = choose(Bundle(default_bundle()), point.name)
        verdict = "bonafide" if shown >= band.accept else "spoof" if shown < band.reject else "undecided"
        assert page.get_attribute("#verdict", "data-verdict") == verdict
    np.testing.assert_array_equal(segments(page), before)


def test_what_holds_no_speech_is_undecided(page: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "hum.wav", 0.05 * np.sin(np.arange(80_000) / 20), RATE)
    soundfile.write(tmp_path / "silence.wav", np.zeros(80_000), RATE)
    soundfile.write(tmp_path / "short.wav", 0.1 * rng.standard_normal(4_000), RATE)
    for name in ("hum", "silence", "short"):
        judge(page, tmp_path / f"{name}.wav")
        reason = Detector().detect(tmp_path / f"{name}.wav").reason
        assert page.get_attribute("#verdict", "data-verdict") == "undecided"
        assert page.text_content("#detail").lower() == f"{reason}. {REMEDIES[reason]}".lower()
    (tmp_path / "text.wav").write_text("no audio")
    page.evaluate("document.querySelector('#status').dataset.state = ''")
    page.set_input_files("#file", tmp_path / "text.wav")
    assert "cannot decode" in wait_for(page, "done", "error")
    assert page.get_attribute("#verdict", "data-verdict") == "none", "the last file's verdict is gone"
    assert page.text_content("#name") == "text.wav"


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_is_near_that_of_python(page: Any, rate: int) -> None:
    signal = soxr.resample(speech(2), RATE, rate)
    pieces = [piece.tolist() for piece in np.array_split(signal, [1, 700, 701, 9_000])]
    code = """async ({ rate, pieces }) => {
      const { Resampler, joined } = await import("./resample.js");
      const resampler = new Resampler(rate, 16000);
      return Array.from(joined(...pieces.map((piece) => resampler.feed(Float32Array.from(piece))), resampler.finish()));
    }"""
    found = np.array(page.evaluate(code, {"rate": rate, "pieces": pieces}))
    expected = soxr.resample(signal, rate, RATE)
    assert abs(len(found) - len(expected)) <= 1
    size = min(len(found), len(expected))
    error = found[:size] - expected[:size]
    assert 10 * np.log10(np.mean(error**2) / np.mean(expected**2)) < -50


@pytest.mark.parametrize(("right", "offset"), [(None, 0.0), (None, 0.3), (0.5, -0.2), (-1.0, 0.0), (0.0, 0.1)])
def test_mixing_is_that_of_python(page: Any, right: float | None, offset: float) -> None:
    voice = speech(2)
    gains = [0.1] if right is None else [0.1, 0.1 * right]
    channels = np.stack([gain * voice for gain in gains], axis=1).astype(np.float32) + np.float32(offset)
    pieces = [piece.T.tolist() for piece in np.array_split(channels, [1, 700, 701, 9_000])]
    code = """async ({ channels, rate, pieces }) => {
      const [{ Mixer }, { joined }] = await Promise.all([import("./mixing.js"), import("./resample.js")]);
      const mixer = new Mixer(channels, rate);
      const fed = pieces.map((piece) => mixer.feed(piece.map((channel) => Float32Array.from(channel))));
      return Array.from(joined(...fed, mixer.finish()));
    }"""
    found = page.evaluate(code, {"channels": channels.shape[1], "rate": RATE, "pieces": pieces})
    np.testing.assert_allclose(found, load((channels, RATE), RATE), atol=1e-6)


def test_an_engine_that_carries_hears_what_is_before_a_window(page: Any) -> None:
    code = """async ({ contract, carry, samples }) => {
      const { Follower } = await import("./follower.js");
      const heard = [];
      const score = (samples) => heard.push([Math.round(1000 * samples[0]), samples.length]);
      const follower = new Follower(contract, { decide: () => true }, score, 16000, carry);
      for (let start = 0; start < samples; start += 700) {
        const length = Math.min(700, samples - start);
        await follower.feed(Float32Array.from({ length }, (_, n) => ((start + n) % 1000) / 1000));
      }
      await follower.finish();
      return heard;
    }"""
    contract = {"sample_rate": RATE, "window": 16_000, "hop": 8_000, "minimum_speech": 1}
    carry = {"chunk": 320, "context": 9_600}
    found = page.evaluate(code, {"contract": contract, "carry": carry, "samples": 40_100})
    # The context and the window, in a signal that repeated its first window before it began; samples tell where they stand.
    begins = [end - 25_600 for end in (16_000, 24_000, 32_000, 40_000, 40_100)]
    assert found == [[(begin if begin >= 0 else begin % 16_000) % 1000, 25_600] for begin in begins]
    plain = page.evaluate(code, {"contract": contract, "carry": None, "samples": 24_000})
    assert plain == [[0, 16_000], [0, 16_000]]


@pytest.mark.slow
def test_the_page_is_accessible_in_light_and_dark_and_on_narrow_screens(
    page: Any, browser: Any, server: Server, prepare: ModuleType, tmp_path: Path
) -> None:
    axe = prepare.Package("axe-core@4.14.1", AXE, ("axe.min.js",))
    npm_or_skip(prepare, prepare.fetch, axe, tmp_path)
    for scheme in ("light", "dark"):
        other = opened(browser, server.url, bypass_csp=True, color_scheme=scheme, viewport={"width": 320, "height": 640})
        wait_for(other, "ready")
        judge(other, AUDIO / "synthetic_piper_en.flac")
        other.add_script_tag(path=tmp_path / "axe.min.js")
        violations = other.evaluate(
            "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))"
        )
        assert violations == []
        assert other.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off at 320 pixels"
        other.context.close()


@pytest.mark.slow
def test_the_page_works_offline_once_loaded(browser: Any, site: Path) -> None:
    server = Server(site)
    page = opened(browser, server.url)
    wait_for(page, "ready")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    server.stop()
    page.reload()
    assert "passed its self test" in wait_for(page, "ready", "error")
    judge(page, AUDIO / "human_june_fr.flac")
    page.context.close()


def test_an_altered_engine_is_refused(browser: Any, server: Server) -> None:
    page = browser.new_context(service_workers="block").new_page()
    page.route("**/bundle/*.onnx", lambda route: route.fulfill(body=b"another network"))
    page.goto(server.url)
    assert "damaged or replaced" in wait_for(page, "ready", "error")
    assert page.is_disabled("#microphone")
    page.context.close()


def offer_more_inputs(path: Path) -> str:
    """Makes an initializer an input with a default, which nobody has to feed, and gives the file's new sha256."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("gain", onnx.TensorProto.FLOAT, []))
    onnx.save(model, path)
    return sha256(path.read_bytes())


@pytest.mark.slow
def test_another_bundle_runs_too(browser: Any, site: Path, tiny_bundle: Path, prepare: ModuleType, tmp_path: Path) -> None:
    # Chromium divides positive 16-bit samples by 32,767, so that a score of 40 may be off by 0.0012.
    self_test = Bundle(tiny_bundle).manifest.self_test.model_copy(update={"tolerance": 0.01})
    bundle, out = tmp_path / "bundle", tmp_path / "site"
    shutil.copytree(tiny_bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8")) | {"self_test": self_test.model_dump()}
    manifest["engines"][0]["sha256"] = offer_more_inputs(bundle / "float32.onnx")
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    shutil.copytree(site / "vendor", out / "vendor")
    prepare.main(["--bundle", str(bundle), "--out", str(out)])
    server = Server(out)
    page = opened(browser, server.url, service_workers="block")
    assert "passed its self test" in wait_for(page, "ready", "error")
    judge(page, AUDIO / "human_june_fr.flac")
    result = Detector(bundle).detect(AUDIO / "human_june_fr.flac")
    np.testing.assert_allclose(segments(page)[:, 2], [one.score for one in result.segments], atol=0.01)
    server.stop()
    page.context.close()

"""Bundles that are damaged, altered, or not bundles: each is refused before anything in it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import GAIN, WINDOW, make_bundle, raw_score

from vivavoce import BundleError, ConfigurationError, Detector, MissingExtra
from vivavoce.bundle import TARGETS, AudioContract, Bundle, EngineFile, bundle_path, schema
from vivavoce.bundle_writing import UNCALIBRATED, require_new, uncalibrated
from vivavoce.files import sha256

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that is free to be damaged."""
    return make_bundle(tmp_path / "bundle")


def change_manifest(folder: Path, change: Change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def set_to(value: Any, *keys: str | int) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]  # type: ignore[index]
        manifest[keys[-1]] = value  # type: ignore[index]

    return change


def test_whole_bundle_opens_and_every_listed_file_holds(folder: Path) -> None:
    bundle = Bundle(folder)
    for name, digest in bundle.listed().items():
        assert sha256(bundle.read(name, digest)) == digest
    assert set(bundle.listed()) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert Detector(folder).threshold == 0.0


def test_engine_with_one_bit_changed_is_refused(folder: Path) -> None:
    engine = folder / "float32.onnx"
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    with pytest.raises(BundleError, match=r"float32\.onnx is not the file that the manifest names"):
        Detector(folder)


def test_engine_that_is_no_network_is_refused(folder: Path) -> None:
    (folder / "float32.onnx").write_bytes(b"not a network")
    change_manifest(folder, set_to(sha256(b"not a network"), "engines", 0, "sha256"))
    with pytest.raises(BundleError, match=r"float32\.onnx"):
        Detector(folder)


def ask_for_weights(folder: Path, **place: str) -> None:
    """Has the network of a bundle ask for its one weight in another place."""
    network = onnx.load(folder / "float32.onnx")
    gain = network.graph.initializer[0]
    gain.ClearField("float_data")
    gain.data_location = onnx.TensorProto.EXTERNAL
    for key, value in place.items():
        gain.external_data.add(key=key, value=value)
    content = network.SerializeToString()
    (folder / "float32.onnx").write_bytes(content)
    change_manifest(folder, set_to(sha256(content), "engines", 0, "sha256"))


def test_weights_that_the_manifest_does_not_name_are_not_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_weights(folder, location="gain.data")
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path, folder):
        (place / "gain.data").write_bytes(np.full(1, GAIN, np.float32).tobytes())
        with pytest.raises(BundleError, match=r"gain\.data"):
            Detector(folder)
    named = {"gain.data": sha256((folder / "gain.data").read_bytes())}
    change_manifest(folder, set_to(named, "engines", 0, "data"))
    (tmp_path / "gain.data").unlink()
    window = np.full((1, WINDOW), 0.1, np.float32)
    np.testing.assert_allclose(Detector(folder).engine.score(window), raw_score(window[0]), rtol=1e-4)


@pytest.mark.parametrize("location", ["{}/gain.data", "../gain.data", "..{}/gain.data", "*/_ORT_MEM_ADDR_/*"])
def test_no_path_and_no_address_in_a_network_is_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    gain = np.full(1, GAIN, np.float32)
    (tmp_path / "gain.data").write_bytes(gain.tobytes())
    monkeypatch.chdir(folder)
    offset = gain.ctypes.data if location.startswith("*") else 0
    ask_for_weights(folder, location=location.format(tmp_path), offset=str(offset), length="4")
    with pytest.raises(BundleError, match="cannot load"):
        Detector(folder)


def test_engine_that_is_missing_is_refused(folder: Path) -> None:
    (folder / "float32.onnx").unlink()
    with pytest.raises(BundleError, match=r"float32\.onnx cannot be read: No such file"):
        Detector(folder)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (set_to(1, "surprise"), "surprise"),
        (set_to(1, "audio", "surprise"), "audio.surprise"),
        (set_to("../../secret.onnx", "engines", 0, "file"), "engines.0.file"),
        (set_to("/etc/passwd", "engines", 0, "file"), "engines.0.file"),
        (set_to("a\\b", "engines", 0, "file"), "engines.0.file"),
        (set_to({"../weights.data": "0" * 64}, "engines", 0, "data"), "engines.0.data"),
        (set_to("..", "self_test", "file"), "self_test.file"),
        (set_to({"../card.md": "0" * 64}, "documents"), "documents"),
        (set_to("x" * 64, "engines", 0, "sha256"), "engines.0.sha256"),
        (set_to("pickle", "engines", 0, "kind"), "engines.0.kind"),
        (set_to(0, "audio", "hop"), "audio.hop"),
        (set_to(-1, "audio", "window"), "audio.window"),
        (set_to(8000, "audio", "sample_rate"), "audio.sample_rate"),
        (set_to(0, "audio", "first_verdict"), "audio.first_verdict"),
        (set_to(-2.0, "calibration", "scale"), "calibration.scale"),
        (set_to(float("nan"), "calibration", "offset"), "calibration.offset"),
        (set_to(1.0, "calibration", "prior"), "calibration.prior"),
        (set_to(float("inf"), "operating_points", 0, "threshold"), "operating_points.0.threshold"),
        (set_to([], "engines"), "engines"),
        (set_to([], "operating_points"), "operating_points"),
        (set_to("fpr=9%", "default_operating_point"), "the manifest"),
        (set_to("eer", "operating_points", 1, "name"), "the manifest"),
        (lambda manifest: manifest.pop("self_test"), "self_test"),
    ],
)
def test_manifest_that_breaks_the_format_is_refused_by_the_name_of_the_field(folder: Path, change: Change, where: str) -> None:
    change_manifest(folder, change)
    with pytest.raises(BundleError, match=rf"does not follow vivavoce-bundle/1: {where}"):
        Bundle(folder)


def test_manifest_of_another_version_asks_for_an_upgrade(folder: Path) -> None:
    change_manifest(folder, set_to("vivavoce-bundle/2", "format"))
    with pytest.raises(BundleError, match=r"'vivavoce-bundle/2'.*reads vivavoce-bundle/1.*Upgrade"):
        Bundle(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe\x00"])
def test_manifest_that_is_no_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle(folder)


def test_path_that_is_no_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a directory"):
        Bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is not a directory"):
        Bundle(folder / "manifest.json")
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle(folder)


def test_operating_points_are_found_by_name(folder: Path) -> None:
    bundle = Bundle(folder)
    assert bundle.operating_point("fpr=1%").threshold == 1.5
    with pytest.raises(ConfigurationError, match=r'no operating point "fpr=2%"\. Choose eer, fpr=1%, or a number'):
        bundle.operating_point("fpr=2%")


def test_audio_contract_that_says_nothing_about_verdicts_waits_for_two_seconds_of_speech() -> None:
    assert AudioContract(window=64_000, hop=32_000).first_verdict == 2.0


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"target": "z80"}, r'not made for "z80"; choose one of: any, x86-vnni, x86-avx2, arm64, tensorrt'),
        ({"target": "sm8.7"}, r'an ONNX engine is not made for "sm8\.7"'),
        ({"kind": "tensorrt", "target": "tensorrt"}, r"give a compute capability, such as sm8\.7"),
        ({"precision": "int8"}, r"weight_bits is 7 or 8 for an ONNX engine in int8"),
        ({"weight_bits": 8}, r"left out for any other"),
    ],
)
def test_what_a_file_was_made_for_is_not_free_text(folder: Path, fields: dict[str, Any], problem: str) -> None:
    change_manifest(folder, lambda manifest: manifest["engines"][0].update(fields))
    with pytest.raises(BundleError, match=problem):
        Bundle(folder)


def test_engines_of_every_target_are_valid() -> None:
    entry = {"kind": "onnx", "precision": "int8", "weight_bits": 7, "file": "one.onnx", "sha256": "0" * 64}
    assert [EngineFile.model_validate({**entry, "target": target}).target for target in TARGETS] == [*TARGETS]


def test_the_published_schema_is_that_of_the_models() -> None:
    published = Path(__file__).parents[2] / "docs" / "bundle.schema.json"
    assert published.read_text("utf-8") == schema(), "run `make schema`"


def test_a_manifest_for_other_scores_keeps_nothing_that_was_measured(folder: Path) -> None:
    manifest = Bundle(folder).manifest
    monitored = manifest.model_copy(update={"monitoring": (object(),)})
    bare = uncalibrated(monitored, name="other")
    assert (bare.name, bare.calibration, bare.evaluations, bare.monitoring, bare.regression) == ("other", None, (), (), None)
    assert bare.default_point == UNCALIBRATED
    assert (bare.engines, bare.audio, bare.model) == (manifest.engines, manifest.audio, manifest.model)


def test_a_bundle_of_a_package_is_found_by_its_name_and_the_package_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_bundle(tmp_path / "bundle").rename(tmp_path / "some_bundle")
    (place / "__init__.py").write_text("raise RuntimeError('imported')")
    information = tmp_path / "some_bundle-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: some-bundle\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[vivavoce.bundles]\nsome = some_bundle\ninner = some_bundle.inner\ngone = not_a_package\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert bundle_path("some") == place
    assert bundle_path("inner") == place / "inner"
    assert Detector("some").threshold == 0.0
    with pytest.raises(BundleError, match="gone is not a directory"):
        Detector("gone")
    (tmp_path / "some").mkdir()
    assert bundle_path("some") == Path("some")


def test_a_bundle_that_an_extra_installs_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vivavoce.bundle.installed_bundles", dict)
    with pytest.raises(MissingExtra, match=r'"large" is not installed. Run: pip install "vivavoce\[large\]"'):
        Detector("large")
    make_bundle(tmp_path / "large")
    assert Detector("large").threshold == 0.0


def test_a_place_where_no_bundle_can_be_written_is_refused_before_long_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place, problem in (("file/new", "is no folder to write to"), ("file", "exists"), ("link", "exists")):
        with pytest.raises(ConfigurationError, match=problem):
            require_new(tmp_path / place)
    require_new(tmp_path / "new" / "bundle")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}

"""TensorRT in the SDK, on a stand-in for the GPU: what engines score, what they release, and which engine a device picks."""

from __future__ import annotations

import gc
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import pytest
from bundles import WINDOW, make_bundle, raw_score
from numpy.typing import NDArray
from nvidia import API, CUDA_API, VERSIONS, Gpu, cuda_runtime, install, tensorrt_module

from vivavoce import BundleError, ConfigurationError, Detector, DeviceError, MissingExtra
from vivavoce.bundle import Bundle
from vivavoce.commands.info import info
from vivavoce.engines.engine import DEVICES, load_engine, open_engine
from vivavoce.engines.providers import PROVIDERS, cache_folder, has_driver
from vivavoce.engines.tensorrt import TensorRTEngine, environment
from vivavoce.files import sha256

RATE = 16_000


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return install(monkeypatch)


@pytest.fixture(autouse=True)
def _caches_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))


def plan(network: bytes, gpu: Gpu, *, batch: int = 1, **changes: Any) -> bytes:
    """A serialized engine of the stand-in."""
    shapes = {"samples": [(1, WINDOW), (batch, WINDOW), (batch, WINDOW)]}
    header = {"version": gpu.version, "capability": gpu.capability, "compatible": False, "level": 0, "shapes": shapes}
    return b"plan" + json.dumps(header | changes).encode() + b"\n" + network


def with_engine(path: Path, gpu: Gpu, *, requires: dict[str, str] | None = None, batch: int = 1, **changes: Any) -> Path:
    """A bundle with a TensorRT engine before its ONNX engine."""
    make_bundle(path)
    content = plan((path / "float32.onnx").read_bytes(), gpu, batch=batch, **changes)
    (path / "gpu.engine").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    engine = {"kind": "tensorrt", "precision": "float16", "target": "sm8.7", "file": "gpu.engine", "sha256": sha256(content)}
    manifest["engines"].insert(0, engine | {"requires": requires or {"tensorrt": gpu.version, "compute_capability": "8.7"}})
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def windows(count: int, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal((count, WINDOW)) * 0.1).astype(np.float32)


def expected(samples: NDArray[np.float32]) -> list[float]:
    return [raw_score(window) for window in samples]


# The stand-in against what NVIDIA's bindings declare


def overload(function: Any) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    return [one.name + ("=" if one.default is not one.empty else "") for one in parameters if one.name != "self"]


@pytest.mark.parametrize("version", VERSIONS)
def test_stand_in_has_the_signatures_of_the_bindings(version: str) -> None:
    module: Any = tensorrt_module(Gpu(version, (8, 7)))
    compared = 0
    for owner, members in API[version]["classes"].items():
        fake = module.fakes.get(owner, getattr(module, owner, None))
        for name, overloads in members.items():
            if owner == "IProgressMonitor" or (member := inspect.getattr_static(fake, name, None)) is None:
                continue
            compared += 1
            if overloads is not None and name != "__init__":
                required = [[one for one in parameters if not one.endswith("=")] for parameters in overloads]
                assert overload(member) in overloads or overload(member) in required, (owner, name)
    assert compared > 25
    for name, members in API[version]["enumerations"].items():
        found = module
        for part in name.split("."):
            found = getattr(found, part)
        assert {name: int(value) for name, value in found.__members__.items()} == members


@pytest.mark.parametrize("version", CUDA_API)
def test_stand_in_has_the_signatures_of_cuda_bindings(version: str) -> None:
    module = cuda_runtime(Gpu(VERSIONS[0], (8, 7)))
    for name, parameters in CUDA_API[version].items():
        assert len(overload(getattr(module, name))) == len(parameters), name


# Engines


@pytest.mark.parametrize("version", VERSIONS)
def test_engine_scores_as_its_network_on_every_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    gpu = install(monkeypatch, version)
    engine = open_engine(Bundle(with_engine(tmp_path / "bundle", gpu)))
    assert isinstance(engine, TensorRTEngine)
    assert (engine.file.file, engine.provider, engine.skipped) == ("gpu.engine", f"TensorRT {version}", ())
    samples = windows(3)
    np.testing.assert_allclose(engine.score(samples), expected(samples), rtol=1e-5)
    np.testing.assert_allclose(engine.score(samples[2:]), expected(samples[2:]), rtol=1e-5)
    assert gpu.launches == 4


def test_a_batch_larger_than_the_profile_is_cut(tmp_path: Path, gpu: Gpu) -> None:
    engine = open_engine(Bundle(with_engine(tmp_path / "bundle", gpu, batch=4)))
    samples = windows(10)
    np.testing.assert_allclose(engine.score(samples), expected(samples), rtol=1e-5)
    assert gpu.launches == 3


def test_what_cannot_be_recorded_is_launched_step_by_step(tmp_path: Path, gpu: Gpu) -> None:
    gpu.records_graphs = False
    engine = open_engine(Bundle(with_engine(tmp_path / "bundle", gpu)))
    samples = windows(2)
    np.testing.assert_allclose(engine.score(samples), expected(samples), rtol=1e-5)
    assert gpu.launches == 0


def test_threads_get_their_own_scores(tmp_path: Path, gpu: Gpu) -> None:
    engine = open_engine(Bundle(with_engine(tmp_path / "bundle", gpu)))
    barrier = threading.Barrier(4)

    def work(seed: int) -> None:
        barrier.wait()
        for turn in range(5):
            samples = windows(1, 100 * seed + turn)
            np.testing.assert_allclose(engine.score(samples), expected(samples), rtol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_everything_is_released_with_the_engine(tmp_path: Path, gpu: Gpu) -> None:
    engine = open_engine(Bundle(with_engine(tmp_path / "bundle", gpu, batch=2)))
    engine.score(windows(3))
    # Two shapes, each with a stream, two pinned buffers and two on the GPU, a graph, and its executable form.
    assert gpu.live() == 2 * 7
    del engine
    gc.collect()
    assert gpu.live() == 0


def test_what_the_manifest_names_must_be_there(tmp_path: Path, gpu: Gpu) -> None:
    path = with_engine(tmp_path / "bundle", gpu)
    file = Bundle(path).manifest.engines[0].model_copy(update={"output": "logits"})
    with pytest.raises(BundleError, match="samples, score; the manifest names samples and logits"):
        TensorRTEngine((path / "gpu.engine").read_bytes(), file)


def test_a_gpu_that_stops_working_is_a_device_error(tmp_path: Path, gpu: Gpu) -> None:
    engine = open_engine(Bundle(with_engine(tmp_path / "bundle", gpu)))
    engine.score(windows(1))
    gpu.driver = False
    with pytest.raises(DeviceError, match="words for cudaErrorInsufficientDriver"):
        engine.score(windows(1))
    gpu.driver = True
    np.testing.assert_allclose(engine.score(windows(1)), expected(windows(1)), rtol=1e-5)


def test_an_altered_engine_is_refused_and_not_passed_over(tmp_path: Path, gpu: Gpu) -> None:
    path = with_engine(tmp_path / "bundle", gpu)
    (path / "gpu.engine").write_bytes(b"plan of another")
    with pytest.raises(BundleError, match="damaged or replaced"):
        Detector(path)


# Which engine a device picks


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ({"tensorrt": "10.13.3.9"}, f"needs tensorrt 10.13.3.9, and this machine has {VERSIONS[-1]}. Build it"),
        ({"tensorrt": ">=99.1"}, "needs tensorrt >=99.1"),
        ({"compute_capability": "8.9"}, "needs compute_capability 8.9, and this machine has 8.7"),
        ({"compute_capability": ">=9.0"}, "needs compute_capability >=9.0"),
        ({"platform": "plan9-mips"}, "needs platform plan9-mips"),
        ({"crystal": "yes"}, "needs crystal yes, and this machine has none"),
    ],
    ids=str,
)
def test_an_engine_for_another_machine_is_passed_over_with_the_reason(
    tmp_path: Path, gpu: Gpu, requires: dict[str, str], reason: str
) -> None:
    path = with_engine(tmp_path / "bundle", gpu, requires=requires)
    engine = open_engine(Bundle(path))
    assert engine.provider == "CPUExecutionProvider"
    (skipped,) = engine.skipped
    assert f"gpu.engine {reason}" in skipped
    with pytest.raises(DeviceError, match=r"gpu\.engine needs"):
        open_engine(Bundle(path), device="tensorrt")


@pytest.mark.parametrize("requires", [{"tensorrt": VERSIONS[-1].rpartition(".")[0]}, {"compute_capability": ">=8.0"}, {}])
def test_a_requirement_that_is_met_lets_the_engine_run(tmp_path: Path, gpu: Gpu, requires: dict[str, str]) -> None:
    engine = open_engine(Bundle(with_engine(tmp_path / "bundle", gpu, requires=requires or {"tensorrt": gpu.version})))
    assert engine.provider.startswith("TensorRT")


def test_an_engine_that_tensorrt_cannot_load_is_passed_over(tmp_path: Path, gpu: Gpu) -> None:
    path = with_engine(tmp_path / "bundle", gpu, version="10.0.0")
    engine = open_engine(Bundle(path))
    assert engine.provider == "CPUExecutionProvider"
    assert f"cannot load gpu.engine: expecting library version {gpu.version} got 10.0.0" in engine.skipped[0]


def test_code_for_the_processor_runs_only_where_it_was_asked_for(tmp_path: Path, gpu: Gpu) -> None:
    path = with_engine(tmp_path / "bundle", gpu, requires={"tensorrt": ">=10.0"}, version="10.0.0", compatible=True)
    engine = open_engine(Bundle(path))
    assert engine.provider == "CPUExecutionProvider"
    assert "brings code for the processor" in engine.skipped[0]
    assert open_engine(Bundle(path), device="tensorrt").provider.startswith("TensorRT")


@pytest.mark.parametrize("broken", ["driver", "bindings", "libraries", "start"])
def test_auto_works_where_the_gpu_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: Gpu, broken: str) -> None:
    path = with_engine(tmp_path / "bundle", gpu)
    gpu.driver, gpu.starts = broken != "driver", broken != "start"
    if broken == "bindings":
        monkeypatch.setitem(sys.modules, "tensorrt", None)
    if broken == "libraries":
        monkeypatch.delitem(sys.modules, "tensorrt")
        (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
        monkeypatch.syspath_prepend(str(tmp_path))
    result = Detector(path, speech_gate=False).detect((windows(1)[0], RATE))
    assert result.provenance is not None
    assert result.provenance.engine == "float32.onnx on CPUExecutionProvider"
    errors = {
        "driver": "InsufficientDriver",
        "bindings": r"vivavoce\[tensorrt\]",
        "libraries": "libnvinfer",
        "start": "does not start",
    }
    with pytest.raises((DeviceError, MissingExtra), match=errors[broken]):
        Detector(path, device="tensorrt")


def test_result_tells_what_scored(tmp_path: Path, gpu: Gpu) -> None:
    result = Detector(with_engine(tmp_path / "bundle", gpu), speech_gate=False).detect((windows(1)[0], RATE))
    assert result.to_dict()["provenance"]["engine"] == f"gpu.engine on TensorRT {gpu.version}"


def test_info_tells_what_runs_and_what_was_passed_over(tmp_path: Path, gpu: Gpu, capsys: pytest.CaptureFixture[str]) -> None:
    path = with_engine(tmp_path / "bundle", gpu, requires={"compute_capability": "8.9"})
    assert info(path, json=True) == 0
    picked = json.loads(capsys.readouterr().out)["engine"]
    assert (picked["file"], picked["provider"], len(picked["skipped"])) == ("float32.onnx", "CPUExecutionProvider", 1)
    assert info(path) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "passed over gpu.engine needs compute_capability 8.9, and this machine has 8.7." in text


def test_precision_picks_among_the_kinds(tmp_path: Path, gpu: Gpu) -> None:
    bundle = Bundle(with_engine(tmp_path / "bundle", gpu))
    assert open_engine(bundle, precision="float16").file.kind == "tensorrt"
    assert open_engine(bundle, precision="float32").file.kind == "onnx"
    with pytest.raises(ConfigurationError, match=r"precision float16 for cpu\. It holds: tensorrt float16"):
        open_engine(bundle, device="cpu", precision="float16")


def test_environment_is_that_of_the_machine(gpu: Gpu) -> None:
    here = environment()
    assert (here["tensorrt"], here["compute_capability"]) == (gpu.version, "8.7")
    assert here["platform"].count("-") == 1


@pytest.mark.parametrize(
    ("device", "error", "remedy"),
    [
        ("tensorrt", MissingExtra, 'tensorrt is not installed. Run: pip install "vivavoce[tensorrt]"'),
        (
            "tensorrt-rtx",
            MissingExtra,
            'onnxruntime_ep_nv_tensorrt_rtx is not installed. Run: pip install "vivavoce[tensorrt-rtx]"',
        ),
        ("cuda", DeviceError, 'Run: pip uninstall --yes onnxruntime, then: pip install "vivavoce[cuda]"'),
    ],
)
def test_a_device_that_is_not_there_answers_with_the_remedy(device: str, error: type[Exception], remedy: str) -> None:
    code = f"""
import sys
for name in ("tensorrt", "onnxruntime_ep_nv_tensorrt_rtx"):
    sys.modules[name] = None
import onnxruntime, vivavoce, vivavoce.engines.providers
onnxruntime.get_available_providers = lambda: ["CPUExecutionProvider"]
vivavoce.engines.providers.find_spec = lambda name: None if name.endswith("rtx") else True
try:
    vivavoce.Detector(device={device!r})
except vivavoce.{error.__name__} as raised:
    print(raised)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert remedy in done.stdout


def test_unknown_device_lists_the_choices(tiny_bundle: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"auto, cpu, cuda, tensorrt, tensorrt-rtx"):
        Detector(tiny_bundle, device="tpu")


def test_a_bundle_without_an_engine_says_how_to_build_one(tiny_bundle: Path, gpu: Gpu) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no TensorRT engine\. Build it .* vivavoce build-engine"):
        Detector(tiny_bundle, device="tensorrt")


# ONNX Runtime's execution providers


class Providers:
    """An ONNX Runtime that has GPU providers: which it was asked for, with which options; on the CPU it is that computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
        self.asked: list[Any] = []
        self.options: list[dict[str, str]] = []
        self.registered: list[tuple[str, str]] = []
        self.fails: set[str] = set()
        names = [PROVIDERS[device] for device in installed]
        real, recorder = onnxruntime.InferenceSession, self

        class Session:
            def __init__(self, content: bytes, options: Any, providers: list[Any] | None = None) -> None:
                recorder.asked = [PROVIDERS["tensorrt-rtx"]] if providers is None else providers
                first = recorder.asked[0] if isinstance(recorder.asked[0], str) else recorder.asked[0][0]
                if first == "CPUExecutionProvider":
                    recorder.asked = []
                self._first = first if first not in recorder.fails else "CPUExecutionProvider"
                self._session = real(content, options, providers=["CPUExecutionProvider"])

            def get_providers(self) -> list[str]:
                return [self._first, "CPUExecutionProvider"]

            def run(self, names: list[str], inputs: dict[str, Any]) -> Any:
                (samples,) = inputs.values()
                if self._first != "CPUExecutionProvider":
                    assert len(samples) == 1
                return self._session.run(names, inputs)

        class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
            def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
                assert [device.ep_name for device in devices] == [PROVIDERS["tensorrt-rtx"]]
                recorder.options.append(options)

        monkeypatch.setattr("vivavoce.engines.providers.has_driver", lambda: True)
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, "CPUExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("no cuDNN"), raising=False)
        monkeypatch.setattr(onnxruntime, "get_ep_devices", self._devices)
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda *pair: self.registered.append(pair))

    def _devices(self) -> list[Any]:
        device: Any = ModuleType("device")
        device.ep_name = PROVIDERS["tensorrt-rtx"]
        return [device] * len(self.registered)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    name = "onnxruntime_ep_nv_tensorrt_rtx"
    (tmp_path / f"{name}.py").write_text(
        "get_ep_name = lambda: 'NvTensorRTRTXExecutionProvider'\nget_library_path = lambda: '/plugins/rtx.so'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_onnx_runtime_is_asked_for_the_provider_and_for_one_shape(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    providers = Providers(monkeypatch, "cuda", "tensorrt")
    if device == "tensorrt":
        engine = open_engine(Bundle(tiny_bundle))
        assert engine.skipped == ()
    else:
        engine = open_engine(Bundle(tiny_bundle), device=device)
    assert engine.provider == PROVIDERS[device]
    assert [one if isinstance(one, str) else one[0] for one in providers.asked] == (
        [PROVIDERS["tensorrt"]] * (device == "tensorrt") + [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    )
    samples = windows(3)
    np.testing.assert_allclose(engine.score(samples), expected(samples), rtol=1e-5)
    assert capsys.readouterr().out == ""


def test_tensorrt_for_rtx_is_registered_once_and_keeps_what_it_compiled(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    providers = Providers(monkeypatch)
    for _ in range(2):
        assert open_engine(Bundle(tiny_bundle), device="tensorrt-rtx").provider == PROVIDERS["tensorrt-rtx"]
    assert providers.registered == [(PROVIDERS["tensorrt-rtx"], "/plugins/rtx.so")]
    assert providers.options == [{"nv_runtime_cache_path": str(cache_folder())}] * 2
    assert open_engine(Bundle(tiny_bundle)).provider == PROVIDERS["tensorrt-rtx"]


def test_tensorrt_for_rtx_without_a_gpu_is_a_device_error(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    Providers(monkeypatch)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", list)
    with pytest.raises(DeviceError, match="finds no NVIDIA RTX GPU"):
        open_engine(Bundle(tiny_bundle), device="tensorrt-rtx")
    assert open_engine(Bundle(tiny_bundle)).provider == "CPUExecutionProvider"


def test_a_provider_that_did_not_load_is_not_mistaken_for_one_that_did(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = Providers(monkeypatch, "tensorrt", "cuda")
    providers.fails = {PROVIDERS["tensorrt"], PROVIDERS["cuda"]}
    engine = open_engine(Bundle(tiny_bundle))
    assert engine.provider == "CPUExecutionProvider"
    assert "TensorrtExecutionProvider did not load" in engine.skipped[0]
    with pytest.raises(DeviceError, match=r"CUDAExecutionProvider did not load.*vivavoce\[cuda\]"):
        open_engine(Bundle(tiny_bundle), device="cuda")


def test_the_real_onnx_runtime_falls_back_and_that_is_noticed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if PROVIDERS["cuda"] in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDERS["cuda"], PROVIDERS["cpu"]])
    with pytest.warns(UserWarning, match="not in available provider"), pytest.raises(DeviceError, match="did not load"):
        open_engine(Bundle(tiny_bundle), device="cuda")


def test_without_a_driver_auto_does_not_even_try(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, plugin: str) -> None:
    providers = Providers(monkeypatch, "tensorrt", "cuda")
    monkeypatch.setattr("vivavoce.engines.providers.has_driver", lambda: False)
    engine = open_engine(Bundle(tiny_bundle))
    assert (engine.provider, engine.skipped, providers.asked) == ("CPUExecutionProvider", (), [])
    assert plugin not in sys.modules


def test_the_driver_is_looked_for_by_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("ctypes.CDLL", asked.append)
    assert has_driver()
    monkeypatch.setattr("ctypes.CDLL", mock.Mock(side_effect=OSError("no such file")))
    assert not has_driver()
    assert asked == ["nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"]


def test_int8_for_a_processor_stays_off_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle(tmp_path / "bundle", precisions=("int8", "float32"))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["engines"][0]["target"] = "x86-vnni"
    (path / "manifest.json").write_text(json.dumps(manifest))
    Providers(monkeypatch, "tensorrt", "cuda")
    assert open_engine(Bundle(path)).file.file == "float32.onnx"
    assert open_engine(Bundle(path), device="cpu").file.file == "int8.onnx"
    with pytest.raises(
        ConfigurationError, match=r"of precision int8 for cuda\. It holds: onnx int8 \(x86-vnni\), onnx float32"
    ):
        open_engine(Bundle(path), device="cuda", precision="int8")
    manifest["engines"][0]["target"] = "tensorrt"
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert open_engine(Bundle(path)).file.file == "int8.onnx"
    assert open_engine(Bundle(path), device="cuda").file.file == "float32.onnx"


def test_callers_options_are_kept_for_the_processor(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Providers(monkeypatch, "tensorrt")
    engine = open_engine(Bundle(tiny_bundle), session_options=onnxruntime.SessionOptions())
    assert engine.provider == "CPUExecutionProvider"


def test_every_device_of_onnx_runtime_has_a_provider(tiny_bundle: Path) -> None:
    assert {runtime for order in DEVICES.values() for runtime in order} == {"engine", *PROVIDERS}
    (file,) = Bundle(tiny_bundle).manifest.engines
    assert load_engine(Bundle(tiny_bundle), file).provider == PROVIDERS["cpu"]

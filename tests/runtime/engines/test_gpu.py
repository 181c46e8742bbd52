"""The same on an NVIDIA GPU, in earnest; each test skips, with the reason, where there is none or a library is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bundles import WINDOW, make_bundle
from int8_bundles import with_int8

from vivavoce.bundle import Bundle
from vivavoce.commands.verify import checks
from vivavoce.engines.engine import open_engine
from vivavoce.engines.tensorrt import environment
from vivavoce.errors import DeviceError, MissingExtra
from vivavoce_converters.steps.build_engine import BuildOptions, build_engine_bundle


@pytest.fixture
def _tensorrt() -> None:
    """Skips without TensorRT and a GPU that it can use."""
    try:
        environment()
    except (DeviceError, MissingExtra) as error:
        pytest.skip(str(error))


def windows(count: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((count, WINDOW)) * 0.1).astype(np.float32)


@pytest.mark.slow
@pytest.mark.usefixtures("_tensorrt")
@pytest.mark.parametrize(
    "options", [BuildOptions(), BuildOptions(batch=4, rest="float32"), BuildOptions(hardware="ampere+")], ids=str
)
def test_an_engine_that_is_built_here_scores_as_its_onnx_file(tmp_path: Path, options: BuildOptions) -> None:
    bundle = Bundle(with_int8(tmp_path / "bundle"))
    made = build_engine_bundle(bundle, tmp_path / "out", options=options, timing_cache=tmp_path / "timings")
    engine, expected = open_engine(made), open_engine(bundle, device="cpu", precision="int8")
    assert engine.provider.startswith("TensorRT")
    samples = windows(6)
    np.testing.assert_allclose(engine.score(samples), expected.score(samples), atol=0.6)
    with ThreadPoolExecutor(4) as pool:
        scores = [score[0] for score in pool.map(engine.score, samples[:, None])]
    np.testing.assert_allclose(scores, engine.score(samples), atol=0.1)
    assert "failed" not in {check.state for check in checks(made.path)}


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cuda", "tensorrt", "tensorrt-rtx"])
def test_onnx_runtime_scores_on_the_gpu_as_on_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = Bundle(make_bundle(tmp_path / "bundle"))
    try:
        engine = open_engine(bundle, device=device)
    except (DeviceError, MissingExtra) as error:
        pytest.skip(str(error))
    samples = windows(3)
    np.testing.assert_allclose(engine.score(samples), open_engine(bundle, device="cpu").score(samples), atol=1e-2)

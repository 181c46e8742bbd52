"""Turns a PyTorch checkpoint of Nes2Net (or a student of `vivavoce distill`) into a bundle, INT8 if a corpus is given.

Without a checkpoint it makes a small network with random weights, so that the road can be tried before the files are there; its
verdicts mean nothing. Needs `pip install "vivavoce[convert]"`. You may convert what its licence lets you convert.

python examples/convert_checkpoint.py --out toy-bundle
python examples/convert_checkpoint.py --checkpoint best_model.pth --corpus ASVspoof2019/LA --out nes2net
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from vivavoce import Detector, VivavoceError
from vivavoce.bundle import Bundle
from vivavoce_calibration.corpora import read_corpus
from vivavoce_converters.checkpoints import load_checkpoint
from vivavoce_converters.distillation.distill import build_student
from vivavoce_converters.distillation.recipe import StudentShape
from vivavoce_converters.networks.countermeasure import save_countermeasure
from vivavoce_converters.steps.convert import convert
from vivavoce_converters.steps.quantize import quantize_bundle

TOY = StudentShape(
    conv_channels=(8,) * 7,
    width=32,
    layers=1,
    heads=2,
    ffn=32,
    position_kernel=8,
    position_groups=4,
    back_end="nes2net",
    nest=(2, 2),
)


def toy_checkpoint(folder: Path) -> Path:
    """A network of the real kind, small and untrained."""
    torch.manual_seed(0)
    path = folder / "toy.safetensors"
    save_countermeasure(build_student(TOY).eval(), path, provenance={"note": "random weights"})
    return path


def difference(checkpoint: Path, bundle: Bundle, windows: int = 4) -> float:
    """How far the bundle's scores are from the checkpoint's own at most, over windows of noise."""
    network, _ = load_checkpoint(checkpoint)
    engine = Detector(bundle.path).engine
    noise = np.random.default_rng(0).standard_normal((windows, bundle.manifest.audio.window))
    samples = (0.1 * noise).astype(np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(samples)).numpy()
    return float(np.abs(engine.score(samples) - expected).max())


def report(step: str, bundle: Bundle, checkpoint: Path) -> None:
    (engine, *_) = bundle.manifest.engines
    size = (bundle.path / engine.file).stat().st_size / 1e6
    print(f"{step}: {bundle.path}, {engine.precision}, {size:.1f} MB, at most {difference(checkpoint, bundle):.2g} from torch")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="the .pth, .pt or .safetensors file; a toy by default")
    parser.add_argument("--corpus", type=Path, help="a corpus for INT8 ranges: its training part, never what is reported")
    parser.add_argument("--subset", default="train", help="that part's name (train)")
    parser.add_argument("--target", default="x86-vnni", help="x86-vnni, x86-avx2, arm64 or tensorrt")
    parser.add_argument("--licence", default="unknown", help="of the weights, for the manifest")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the new bundle; it must not exist")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint or toy_checkpoint(Path(folder))
        bundle = convert(checkpoint, options.out, licence=options.licence)
        report("converted", bundle, checkpoint)
        if options.corpus:
            small = options.out.with_name(f"{options.out.name}-int8")
            trials = read_corpus(options.corpus, subset=options.subset)
            bundle = quantize_bundle(bundle, small, trials, options.target)
            report("quantized", bundle, checkpoint)
    print(f"Not calibrated yet. Next: python examples/recalibrate.py RECORDINGS --bundle {bundle.path} --out NEW")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")

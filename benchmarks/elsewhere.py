"""Compares a bundle in another Python, on another processor or with another ONNX Runtime, with one in this.

python benchmarks/elsewhere.py BUNDLE CORPUS --python "ssh board python3"
python benchmarks/elsewhere.py BUNDLE CORPUS --python "qemu-aarch64 -cpu cortex-a76 -L root root/usr/bin/python3"

The other Python has vivavoce with its extras cpu and cli, and sees the same files under the same names. It scans the first
window of a representative sample of the corpus; here the same is done with the bundle, or with another that it is held against.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from vivavoce import Detector
from vivavoce.audio import load
from vivavoce.bundle import AudioContract
from vivavoce.terminal.console import console, show
from vivavoce_calibration.commands.tables import regression_tables
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.regression import Side, compare
from vivavoce_calibration.sampling import representative


def main() -> None:
    options = _options()
    trials = representative(read_corpus(options.corpus, subset=options.subset), options.trials)
    there, here = Detector(options.bundle), Detector(options.against or options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        files = _first_windows(trials, here.bundle.manifest.audio, Path(folder))
        scores = _listed("here", len(files), (here.detect(file).score for file in files))
        others = _listed("there", len(files), _scanned(shlex.split(options.python), options.bundle, files))
    decided = [i for i, pair in enumerate(zip(scores, others, strict=True)) if None not in pair]
    sides = [
        Side(
            f"{detector.bundle.manifest.name} {detector.engine.file.file} {where}",
            detector.engine.file.sha256,
            np.array([found[i] for i in decided], np.float64),
            detector.bundle.manifest.calibration,
            detector.threshold,
        )
        for detector, found, where in ((there, others, "there"), (here, scores, "here"))
    ]
    result = compare([trials[i] for i in decided], *sides, corpus=options.corpus.name, subset=options.subset or "all")
    if options.json:
        print(result.model_dump_json())
    else:
        show(console(), *regression_tables(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--python", required=True, help="the command that starts the other Python")
    parser.add_argument("--against", type=Path, help="another bundle for this Python, such as the one in float32")
    parser.add_argument("--subset", help="what the field reports by default")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _first_windows(trials: Sequence[Trial], contract: AudioContract, folder: Path) -> list[Path]:
    """A file for each trial, of samples as floats, so that no reader rounds or resamples them."""
    files = []
    for number, trial in enumerate(trials):
        files.append(folder / f"{number:05}.wav")
        samples = load(trial.audio, contract.sample_rate)[: contract.window]
        soundfile.write(files[-1], samples, contract.sample_rate, subtype="FLOAT")
    return files


def _scanned(python: Sequence[str], bundle: Path, files: Sequence[Path]) -> Iterator[float | None]:
    """The other Python's score of each file, None where it is undecided; RuntimeError where it fails."""
    command = [*python, "-m", "vivavoce", "scan", "--json", "--exit-zero", "--bundle", str(bundle), *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)["score"]
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command[: len(python)])} gave up with {process.returncode}.")


def _listed(where: str, count: int, scores: Iterable[float | None]) -> list[float | None]:
    """The scores, with a bar on stderr where that is a terminal."""
    shown = console(stderr=True)
    return list(track(scores, where, total=count, console=shown, transient=True, disable=not shown.is_terminal))


if __name__ == "__main__":
    main()

"""Measures what must not decide: how far scores move, and verdicts flip, under changes that leave the speaker what it was.

python benchmarks/shortcuts.py                  the embedded bundle on the recordings of examples/audio
python benchmarks/shortcuts.py CORPUS           the same on clips of a corpus's dev subset; --each sets how many of a class
python benchmarks/shortcuts.py CORPUS --write   into docs/error-rates.md, the bounds of tests/benchmarks/test_shortcuts.py too

A shift is the log-likelihood ratio after a change minus that before it. A flip is another verdict at the bundle's default
operating point, "undecided" included. Clips that are undecided before the change are left out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import noisereduce
import numpy as np
import soxr
from markers import rewrite
from numpy.random import default_rng

from vivavoce import Detector, Result
from vivavoce.audio import Samples, load
from vivavoce.bundle import Rate
from vivavoce.files import replacing
from vivavoce.machine import versions
from vivavoce_calibration.corpora import read_corpus
from vivavoce_calibration.operating_points import clopper_pearson
from vivavoce_calibration.report.wording import share
from vivavoce_calibration.sampling import representative
from vivavoce_converters.distillation.augmentation import CODECS, RATE, Codec, limit_band, opus_quality, round_trip

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "audio"
PAGE, TEST = ROOT / "docs" / "error-rates.md", ROOT / "tests" / "benchmarks" / "test_shortcuts.py"
TESTED = 6
"""Clips of each class that tests/benchmarks/test_shortcuts.py takes from a corpus: the first of those measured here."""
LOOSE = (0.5, 0.2)
"""A bound above these, on the mean shift in nats or on the share of flips, is no promise and is marked as loose."""
ANY_CODEC = "accepted bona fide, any codec"

Key = Literal["bonafide", "spoof"]
Sound = tuple[Samples, int]
Detect = Callable[[Sound], Result]
KEYS: tuple[Key, Key] = ("bonafide", "spoof")


class Clip(NamedTuple):
    """A clip of 3 to 5 s at 16 kHz with a peak of a tenth of full scale, so that 20 dB more clip nothing."""

    key: Key
    samples: Samples


class Answer(NamedTuple):
    """What a detector answers on a clip as it is; `number` is the clip's place among all."""

    number: int
    clip: Clip
    result: Result


class Pair(NamedTuple):
    """What a detector answers on a clip before and after a change; `number` as in `Answer`."""

    number: int
    key: Key
    before: Result
    after: Result

    @property
    def shift(self) -> float | None:
        scores = self.before.score, self.after.score
        return None if scores[0] is None or scores[1] is None else scores[1] - scores[0]

    @property
    def flipped(self) -> bool:
        return self.before.verdict != self.after.verdict


@dataclass(frozen=True)
class Row:
    """What a change does to one class: mean and standard deviation of the shifts, in nats, and the flipped verdicts."""

    shift: float
    spread: float
    flips: Rate
    undecided: int

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Row:
        shifts = [pair.shift for pair in pairs if pair.shift is not None] or [math.nan]
        return cls(
            shift=float(np.mean(shifts)),
            spread=float(np.std(shifts)),
            flips=clopper_pearson(sum(pair.flipped for pair in pairs), len(pairs)),
            undecided=sum(pair.after.verdict == "undecided" for pair in pairs),
        )

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "flips": self.flips.model_dump()}


# The changes: a clip's samples and number in, audio out. The number seeds what is drawn.


def gained(x: Samples, number: int, *, decibels: float) -> Sound:
    return x * np.float32(10 ** (decibels / 20)), RATE


def silence_added(x: Samples, number: int, *, noise: float) -> Sound:
    """A second before and a second after, of noise with this standard deviation."""
    before, after = default_rng(number).normal(0, noise, (2, RATE)).astype(np.float32)
    return np.concatenate([before, x, after]), RATE


def lead_trimmed(x: Samples, number: int) -> Sound:
    """Everything before the first sample within 26 dB of the peak is cut."""
    return x[int(np.argmax(np.abs(x) > 0.05 * np.max(np.abs(x)))) :], RATE


def begun_later(x: Samples, number: int, *, samples: int) -> Sound:
    return x[samples:], RATE


def coded(x: Samples, number: int, *, codec: Codec) -> Sound:
    """At a low rate, where the codec has one: Opus at 8 to 24 kbit/s, Vorbis at 30, MP3 at 20 to 30."""
    rng = default_rng(number)
    quality = opus_quality(rng.uniform(8, 24)) if codec.subtype == "OPUS" else rng.uniform(0.85, 0.95)
    return round_trip(x, codec, quality), RATE


def band_limited(x: Samples, number: int) -> Sound:
    return limit_band(x, default_rng(number)), RATE


def noise_suppressed(x: Samples, number: int) -> Sound:
    """Through a spectral gate, as calls and recorders use against noise (Sainburg and Zorea, arXiv 2412.17851)."""
    return noisereduce.reduce_noise(x, RATE).astype(np.float32), RATE


def resampled(x: Samples, number: int, *, rate: int) -> Sound:
    return soxr.resample(x, RATE, rate), rate


def in_stereo(x: Samples, number: int, *, right: float) -> Sound:
    return np.stack([x, x * np.float32(right)], axis=1), RATE


def codec_name(container: str, subtype: str, rate: int) -> str:
    name = {"MPEG_LAYER_III": "MP3", "ULAW": "µ-law", "ALAW": "A-law", "GSM610": "GSM 06.10", "IMA_ADPCM": "IMA ADPCM"}
    return f"{name.get(subtype, subtype.title())}, {rate // 1000} kHz"


BY_CODEC: dict[str, Callable[[Samples, int], Sound]] = {codec_name(*codec): partial(coded, codec=codec) for codec in CODECS}
CHANGES: dict[str, Callable[[Samples, int], Sound]] = {
    "20 dB softer": partial(gained, decibels=-20),
    "20 dB louder": partial(gained, decibels=20),
    "1 s of digital silence at both ends": partial(silence_added, noise=0.0),
    "1 s of noise at −80 dB at both ends": partial(silence_added, noise=1e-4),
    "leading silence trimmed": lead_trimmed,
    "begun 1 s later": partial(begun_later, samples=RATE),
    "begun 5 ms later": partial(begun_later, samples=RATE // 200),
    "sampled at 48 kHz": partial(resampled, rate=48_000),
    "sampled at 8 kHz": partial(resampled, rate=8_000),
    "stereo, both channels alike": partial(in_stereo, right=1.0),
    "stereo, one channel silent": partial(in_stereo, right=0.0),
    "random band limit": band_limited,
    "noise suppressed": noise_suppressed,
    **BY_CODEC,
}


# The measurement.


def read_clips(corpus: Path | None, each: int = TESTED) -> list[Clip]:
    """`each` clips of either class in turn, representative of a corpus's dev subset; without a corpus those of examples/audio.

    A larger sample begins with the smaller one.
    """
    if corpus is None:
        human = {path: path.name.startswith("human") for path in sorted(EXAMPLES.glob("*_*_*.*"))}
        return [_clip("bonafide" if human[path] else "spoof", path) for path in human]
    trials = [trial for trial in read_corpus(corpus, subset="dev") if trial.duration is None or trial.duration >= 3]
    chosen = (representative([trial for trial in trials if trial.key == key], each) for key in KEYS)
    return [_clip(trial.key, trial.audio) for pair in zip(*chosen, strict=False) for trial in pair]


def _clip(key: Key, path: Path) -> Clip:
    samples = load(path, RATE)[: 5 * RATE]
    return Clip(key, samples * np.float32(0.1 / np.max(np.abs(samples))))


def unchanged(detect: Detect, clips: Sequence[Clip]) -> list[Answer]:
    """What a detector answers on each clip as it is, without those that it does not decide."""
    answers = [Answer(number, clip, detect((clip.samples, RATE))) for number, clip in enumerate(clips)]
    return [answer for answer in answers if answer.result.score is not None]


def under(name: str, detect: Detect, before: Sequence[Answer]) -> list[Pair]:
    """The pairs of one change, in the order of the clips."""
    change = CHANGES[name]
    return [Pair(number, clip.key, result, detect(change(clip.samples, number))) for number, clip, result in before]


def measure(detect: Detect, clips: Sequence[Clip]) -> Iterator[tuple[str, list[Pair]]]:
    """For each change in turn its name and the pairs."""
    before = unchanged(detect, clips)
    for name in CHANGES:
        yield name, under(name, detect, before)


def with_summary(measured: Mapping[str, list[Pair]]) -> dict[str, list[Pair]]:
    """The same and, in one line, what all codecs together do to bona fide clips that are accepted without them, if any are."""
    pairs = [pair for name in BY_CODEC for pair in measured[name] if pair.key == pair.before.verdict == "bonafide"]
    return {**measured, **({ANY_CODEC: pairs} if pairs else {})}


def by_class(pairs: Sequence[Pair]) -> dict[Key, Row]:
    """A row for each class that is there."""
    groups = {key: [pair for pair in pairs if pair.key == key] for key in KEYS}
    return {key: Row.of(group) for key, group in groups.items() if group}


def worst(pairs: Sequence[Pair]) -> tuple[float, float]:
    """What bounds are set on: the larger mean shift of the two classes, without its sign, and the flips of both together."""
    return max(abs(row.shift) for row in by_class(pairs).values()), Row.of(pairs).flips.value


# What is written.


def table(measured: Mapping[str, list[Pair]]) -> str:
    """The measurement as a table in Markdown."""
    rows = [
        "| change | bona fide: shift | flips | spoof: shift | flips |",
        "| --- | ---: | --- | ---: | --- |",
    ]
    for name, pairs in measured.items():
        found = by_class(pairs)
        cells = [cell for key in KEYS for cell in (_cells(found[key]) if key in found else ("–", "–"))]
        rows.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(rows) + "\n"


def _cells(row: Row) -> tuple[str, str]:
    undecided = f", {row.undecided} undecided" if row.undecided else ""
    return f"{_signed(row.shift)} ± {row.spread:.2f}", f"{share(row.flips)} of {row.flips.trials}{undecided}"


def _signed(value: float) -> str:
    return f"{value + 0.0:+.2f}".replace("-", "−")


class Bound(NamedTuple):
    """The most that a mean shift and a share of flips may be: what each set of clips gave, rounded up with a margin."""

    shift: float
    flips: float
    measured: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, measured: tuple[tuple[float, float], ...]) -> Bound:
        """The margin of 0.05 and more is for the arithmetic of other machines."""
        shifts, flips = (max(column) for column in zip(*measured, strict=True))
        return cls(math.ceil(10 * (shifts + 0.05)) / 10, math.ceil(20 * (flips + 0.05)) / 20, measured)

    @property
    def loose(self) -> bool:
        return (self.shift, self.flips) != (min(self.shift, LOOSE[0]), min(self.flips, LOOSE[1]))

    def line(self, name: str) -> str:
        """The bound as the tests' table has it."""
        found = ", ".join(f"{shift:.2f} and {flips:.2f}" for shift, flips in self.measured)
        return f'    "{name}": ({self.shift:.1f}, {self.flips:.2f}),  # {found}{"; loose" if self.loose else ""}\n'


def told(measured: Iterable[tuple[str, list[Pair]]]) -> Iterator[tuple[str, list[Pair]]]:
    """Passes the measurement on and prints each line as it comes."""
    for name, pairs in measured:
        print(f"{name:36}", *(" ".join(_cells(row)) for row in by_class(pairs).values()), sep="  ", flush=True)
        yield name, pairs


def report(detector: Detector, corpus: Path | None, measured: Mapping[str, list[Pair]]) -> dict[str, Any]:
    """Everything that was measured, and on what, ready for JSON."""
    manifest = detector.bundle.manifest
    return {
        "bundle": {"name": manifest.name, "version": manifest.version, "engine_sha256": detector.engine.file.sha256},
        "operating_point": {"name": manifest.default_operating_point, "threshold": detector.threshold},
        "corpus": str(corpus or EXAMPLES.relative_to(ROOT)),
        "versions": versions(),
        "changes": {name: {key: row.to_dict() for key, row in by_class(pairs).items()} for name, pairs in measured.items()},
    }


def write(detector: Detector, corpus: Path, measured: Mapping[str, list[Pair]]) -> None:
    """Rewrites the tests' bounds, set on the corpus's first clips and on the examples, and the page's table."""
    first = with_summary({name: [pair for pair in measured[name] if pair.number < 2 * TESTED] for name in CHANGES})
    examples = with_summary(dict(told(measure(detector.detect, read_clips(None)))))
    bounds = {name: Bound.of(tuple(worst(found[name]) for found in (first, examples) if name in found)) for name in measured}
    rewrite(TEST, "    # bounds: begin\n", "    # bounds: end\n", "".join(bound.line(name) for name, bound in bounds.items()))
    manifest = detector.bundle.manifest
    loose = "\n".join(f"- {name}" for name, bound in bounds.items() if bound.loose)
    page = (
        f"Measured on `{manifest.name}` {manifest.version} at the operating point `{manifest.default_operating_point}`, "
        f"clips of `{corpus.name}` dev. Bounded only loosely:\n\n{loose or '- nothing'}\n\n{table(measured)}"
    )
    rewrite(PAGE, "<!-- shortcuts: begin -->\n", "<!-- shortcuts: end -->\n", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", type=Path, help="a corpus that the builders' tools read; default: examples/audio")
    parser.add_argument("--bundle", help="default: the embedded bundle")
    parser.add_argument("--each", type=int, default=TESTED, help="clips of each class (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--write", action="store_true", help="rewrite the table in docs/error-rates.md and the tests' bounds")
    options = parser.parse_args()
    if options.write and (options.corpus is None or options.bundle or options.each < TESTED):
        parser.error(f"--write takes a corpus, the embedded bundle, and at least {TESTED} clips of each class.")
    detector = Detector(options.bundle)
    measured = with_summary(dict(told(measure(detector.detect, read_clips(options.corpus, options.each)))))
    print(f"\n{table(measured)}")
    if options.json:
        with replacing(options.json) as file:
            json.dump(report(detector, options.corpus, measured), file, indent=2, ensure_ascii=False)
    if options.write:
        write(detector, options.corpus, measured)


if __name__ == "__main__":
    main()

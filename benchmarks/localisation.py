"""Measures how well a bundle tells which part of a recording was replaced, on living speech with synthetic parts spliced in.

python benchmarks/localisation.py CORPUS                    the embedded bundle on recordings made from a corpus's dev subset
python benchmarks/localisation.py CORPUS --bundle BUNDLE --count 100 --json FILE

Each recording is living speech of one speaker, 4 to 10 s, in which 0.5 to 2 s are replaced by a synthetic voice of the same
corpus, at the level of what it replaces, with crossfades of 10 ms. Windows of 1, 2 and 4 s are scored at every hop; shorter
ones than the bundle has are tiled, as short recordings are. `RULES` turn scores of windows into those of segments as long as
the hop. The table tells segment EER, range-based EER, how often the lowest segment lies in the replaced part, and how often an
end of the stretch that stands out most is within half a second of a seam, beside what random scores would give.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vivavoce import Detector
from vivavoce.audio import Samples, load
from vivavoce.engines.incremental import Continuation
from vivavoce.result import Segment, lowest_stretch
from vivavoce_calibration.corpora import read_corpus
from vivavoce_calibration.metrics import FloatArray
from vivavoce_calibration.segments import range_eer, segment_eer

RATE = 16_000
FADE = round(0.01 * RATE)
NEAR = 0.5
"""Seconds within which a seam counts as found."""


@dataclass(frozen=True)
class Spliced:
    """A recording and what was replaced in it, in seconds."""

    name: str
    samples: Samples
    start: float
    end: float

    @property
    def duration(self) -> float:
        return len(self.samples) / RATE


def spliced(corpus: Path, count: int, *, subset: str = "dev", seed: int = 0) -> Iterator[Spliced]:
    """Recordings made from the living and synthetic voices of a corpus's subset; the seed makes the same ones."""
    rng = np.random.default_rng(seed)
    trials = read_corpus(corpus, subset=subset)
    living, synthetic = ([one for one in trials if one.key == key] for key in ("bonafide", "spoof"))
    made = 0
    for trial in (living[number] for number in rng.permutation(len(living))):
        if made == count:
            return
        host = load(trial.audio, RATE)[: 10 * RATE]
        part = load(synthetic[rng.integers(len(synthetic))].audio, RATE)
        length = int(rng.uniform(0.5, 2.0) * RATE)
        if len(host) < 4 * RATE or len(part) < length or not host.any():
            continue
        start = int(rng.integers(RATE // 2, len(host) - length - RATE // 2))
        offset = int(rng.integers(0, len(part) - length + 1))
        yield Spliced(trial.id, _splice(host, part[offset : offset + length], start), start / RATE, (start + length) / RATE)
        made += 1


def _splice(host: Samples, part: Samples, start: int) -> Samples:
    end = start + len(part)
    power, own = (float(np.mean(one**2)) + 1e-12 for one in (host[start:end], part))
    fade = np.ones(len(part), np.float32)
    fade[:FADE] = np.linspace(0, 1, FADE)
    fade[-FADE:] = np.linspace(1, 0, FADE)
    mixed = host.copy()
    mixed[start:end] = host[start:end] * (1 - fade) + part * np.float32(min(np.sqrt(power / own), 10.0)) * fade
    return mixed.clip(-1, 1)


# How scores of windows that end with each segment become the segments' own.

Rule = Callable[[FloatArray, float, float], FloatArray]


def trailing(scores: FloatArray, window: float, hop: float) -> FloatArray:
    """The score of the window that ends with the segment."""
    return scores


def centred(scores: FloatArray, window: float, hop: float) -> FloatArray:
    """The score of the window whose middle is nearest to the segment's."""
    whole = min(round(window / hop), len(scores)) - 1
    ahead = np.arange(len(scores)) + round((window / hop - 1) / 2)
    return scores[np.clip(ahead, whole, len(scores) - 1)]


def mean(scores: FloatArray, window: float, hop: float) -> FloatArray:
    """The mean of all windows that cover the segment: what `detect(..., segment_hop=...)` gives, of windows of 1 s."""
    covering = _covering(window, hop, len(scores))
    return np.asarray(scores @ covering / covering.sum(axis=0))


def lowest(scores: FloatArray, window: float, hop: float) -> FloatArray:
    """The lowest of all windows that cover the segment."""
    return np.asarray(np.where(_covering(window, hop, len(scores)), scores[:, None], np.inf).min(axis=0))


def unmixed(scores: FloatArray, window: float, hop: float, smoothness: float = 0.01) -> FloatArray:
    """The segment scores of which the windows' are the means, as far as smooth ones explain them (ridge on differences)."""
    covering = _covering(window, hop, len(scores))
    share = covering / covering.sum(axis=1, keepdims=True)
    differences = np.diff(np.eye(len(scores)), axis=0)
    middle = scores.mean()
    solved = np.linalg.solve(share.T @ share + smoothness * differences.T @ differences, share.T @ (scores - middle))
    return np.asarray(solved + middle)


RULES: dict[str, Rule] = {one.__name__: one for one in (trailing, centred, mean, lowest, unmixed)}


def _covering(window: float, hop: float, segments: int) -> NDArray[np.bool_]:
    """Which windows cover which segments, (windows, segments)."""
    back = max(1, round(window / hop))
    index = np.arange(segments)
    covering: NDArray[np.bool_] = (index <= index[:, None]) & (index > index[:, None] - back)
    return covering


@dataclass(frozen=True)
class Row:
    """One way to localise. Rates from 0 to 1; `chance` is `seam` for random scores."""

    window: float
    hop: float
    rule: str
    segment_eer: float
    range_eer: float
    lowest_inside: float
    seam: float
    chance: float
    real_time_factor: float


def windows(detector: Detector, samples: Samples, window: float, hop: float) -> tuple[FloatArray, FloatArray]:
    """Ends, in seconds, and log-likelihood ratios of the windows that end every hop, the first after one hop."""
    contract = detector.bundle.manifest.audio
    continuation = Continuation(detector.engine, contract.window)
    calibration = detector.bundle.manifest.calibration
    ends = np.arange(1, int(np.ceil(len(samples) / (hop * RATE))) + 1) * hop
    raw = []
    for end in np.minimum((ends * RATE).astype(int), len(samples)):
        raw.append(continuation.score(max(0, end - round(window * RATE)), int(end), lambda a, b: samples[a:b]))
    scores = np.array(raw)
    return ends, calibration.scale * scores + calibration.offset if calibration else scores


def measure(detector: Detector, recordings: Sequence[Spliced], window: float, hop: float) -> Iterator[Row]:
    """A row for each rule."""
    started = time.process_time()
    scored = {one.name: windows(detector, one.samples, window, hop) for one in recordings}
    spent = (time.process_time() - started) / sum(one.duration for one in recordings)
    spoofed = {one.name: [(one.start, one.end)] for one in recordings}
    durations = {one.name: one.duration for one in recordings}
    rng = np.random.default_rng(1)
    for name, rule in RULES.items():
        found = {one.name: rule(scored[one.name][1], window, hop) for one in recordings}
        labels = {one.name: _labels(one, hop, len(found[one.name])) for one in recordings}
        yield Row(
            window=window,
            hop=hop,
            rule=name,
            segment_eer=segment_eer(labels, found, label_seconds=hop, score_seconds=hop),
            range_eer=range_eer(spoofed, durations, found, score_seconds=hop),
            lowest_inside=float(np.mean([_lowest_inside(one, found[one.name], hop) for one in recordings])),
            seam=float(np.mean([_seam(one, found[one.name], hop) for one in recordings])),
            chance=float(
                np.mean([_seam(one, rng.normal(size=len(found[one.name])), hop) for one in recordings for _ in range(20)])
            ),
            real_time_factor=spent,
        )


def _labels(one: Spliced, hop: float, count: int) -> np.ndarray:
    starts = hop * np.arange(count)
    return (starts + hop <= one.start) | (starts >= one.end)


def _lowest_inside(one: Spliced, scores: FloatArray, hop: float) -> bool:
    middle = hop * (int(np.argmin(scores)) + 0.5)
    return one.start <= middle <= one.end


def _seam(one: Spliced, scores: FloatArray, hop: float) -> bool:
    found = lowest_stretch([Segment(hop * place, hop * (place + 1), float(score)) for place, score in enumerate(scores)])
    return found is not None and min(abs(found.start - one.start), abs(found.end - one.end)) <= NEAR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--subset", default="dev")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--windows", type=float, nargs="+", default=[4.0, 2.0, 1.0])
    parser.add_argument("--hops", type=float, nargs="+", default=[0.5, 0.25, 0.16])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    detector = Detector(options.bundle)
    recordings = list(spliced(options.corpus, options.count, subset=options.subset))
    rows = []
    print("window  hop   rule       segment EER  range EER  lowest inside  seam found  by chance  real-time factor")
    for window in options.windows:
        for hop in options.hops:
            for row in measure(detector, recordings, window, hop):
                rows.append(row)
                errors = f"{row.segment_eer:11.1%} {row.range_eer:10.1%}"
                found = f"{row.lowest_inside:14.1%} {row.seam:11.1%} {row.chance:10.1%} {row.real_time_factor:17.3f}"
                print(f"{row.window:4.1f} s {row.hop:4.2f} s  {row.rule:9}{errors} {found}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()

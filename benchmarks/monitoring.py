"""Measures what hours of listening bring: false alarms an hour of living speech, and how many spoofs raise an alarm, how soon.

python benchmarks/monitoring.py CORPUS                 the embedded bundle on a corpus's dev subset
python benchmarks/monitoring.py CORPUS --subset eval --bundle BUNDLE --json FILE

The living voices of each source make one stream, as if people took turns: recording after recording, those of a speaker
together, with the recordings' own edges as pauses. For the share of streams that raise an alarm, the recordings of each source
and of each system are joined until 10 s are full; what is left over is left out. All pass through `Detector.stream` with the
default policy, and an alarm is what `vivavoce listen` calls one: a verdict of spoof that is news. While such a verdict stands
there is no news, so a threshold that most windows miss raises few alarms; the share of windows below it tells.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

from pydantic import BaseModel

from vivavoce import Detector
from vivavoce.audio import load
from vivavoce.bundle import OperatingPoint, PerHour, Rate, default_bundle
from vivavoce.files import replacing
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.monitoring import ALL_PASS, Heard, grouped, joined, listen, per_hour
from vivavoce_calibration.operating_points import clopper_pearson
from vivavoce_calibration.report.wording import share
from vivavoce_calibration.scoring import Scorer

LONG = 10.0
"""Seconds that a joined stream has at least."""


class Monitored(BaseModel):
    """What was heard, with what: the bundle, the engine and the versions."""

    identity: dict[str, str]
    sources: list[Heard]
    """One stream of living voices for each source."""
    joined: list[Heard]
    """Streams of `LONG` seconds, of both classes."""


# Listening.


def monitor(bundle: Path, trials: Sequence[Trial], told: Callable[[str], object] = lambda line: None) -> Monitored:
    """Lets a bundle hear the trials; `told` is called with a line for each stream."""
    detector = Detector(bundle, operating_point=ALL_PASS)
    rate = detector.bundle.manifest.audio.sample_rate
    timed = [replace(trial, duration=trial.duration or len(load(trial.audio, rate)) / rate) for trial in trials]
    living = [trial for trial in timed if trial.key == "bonafide"]

    def heard(groups: Iterable[Sequence[Trial]]) -> Iterator[Heard]:
        for group in groups:
            yield (one := listen(detector, group))
            told(f"{one.key:8}  {one.seconds:6.1f} s  {len(one.windows):4} windows  {one.name}")

    return Monitored(
        identity=Scorer(bundle).identity(), sources=list(heard(grouped(living))), joined=list(heard(joined(timed, LONG)))
    )


# Figures.


def false_alarms(heard: Sequence[Heard], threshold: float) -> PerHour:
    """Alarms an hour of streams of living voices."""
    return per_hour(sum(len(one.alarms(threshold)) for one in heard), sum(one.seconds for one in heard) / 3600)


def below(heard: Iterable[Heard], threshold: float) -> float:
    """The share of windows that score below the threshold: how much of the time an alarm would stand."""
    judged = [window.score < threshold for one in heard for window in one.windows]
    return mean(judged) if judged else 0.0


def alarmed(heard: Sequence[Heard], threshold: float) -> Rate:
    """The share of streams that raise an alarm."""
    return clopper_pearson(sum(bool(one.alarms(threshold)) for one in heard), len(heard))


def delay(heard: Iterable[Heard], threshold: float) -> float | None:
    """The median of the time until the first alarm, in seconds, of the streams that raise one."""
    first = [times[0] for one in heard if (times := one.alarms(threshold))]
    return median(first) if first else None


# What is written.


def hourly(rate: PerHour) -> str:
    return f"{rate.value:.0f} ({rate.low:.0f} to {rate.high:.0f})"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def table(found: dict[str, Monitored], points: Iterable[OperatingPoint]) -> str:
    """A line in Markdown for each operating point and subset: of living voices the false alarms and the windows below the
    threshold, the share of the joined streams with an alarm, and how long the spoofed ones take to raise it."""
    rows = [
        "| operating point | subset | false alarms an hour | windows below | living streams | spoofed streams | after |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for point in points:
        for subset, one in found.items():
            at = point.threshold
            living, spoofs = ([heard for heard in one.joined if heard.key == key] for key in ("bonafide", "spoof"))
            cells = [point.name, subset, hourly(false_alarms(one.sources, at)), percent(below(one.sources, at))]
            cells += [share(alarmed(group, at)) if group else "–" for group in (living, spoofs)]
            rows.append(f"| {' | '.join([*cells, seconds(delay(spoofs, at))])} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="a corpus that the builders' tools read")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="default: the embedded bundle")
    parser.add_argument("--subset", default="dev", help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="where to write every window of every stream")
    options = parser.parse_args()
    found = monitor(options.bundle, read_corpus(options.corpus, subset=options.subset), print)
    print(f"\n{table({options.subset: found}, Detector(options.bundle).bundle.manifest.operating_points)}")
    if options.json:
        with replacing(options.json) as file:
            file.write(found.model_dump_json())


if __name__ == "__main__":
    main()

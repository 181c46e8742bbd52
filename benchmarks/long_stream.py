"""Follows hours of audio at full speed and prints memory and time: `python benchmarks/long_stream.py --hours 24`.

Each ten minutes are 2.5 of speech (the example recordings in turn), 2.5 of faint noise and 5 of digital silence, in chunks of
20 ms of int16 at 48 kHz. The memory is the process's resident set, read after each ten minutes of audio. The drift is the most
by which the time of an event has moved against the same one in the first ten minutes.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vivavoce import Detector
from vivavoce.audio import load

RATE = 48_000
CHUNK = RATE // 50
AUDIO = Path(__file__).parent.parent / "examples" / "audio"


def ten_minutes() -> NDArray[np.int16]:
    clips = [load(path, RATE) for path in sorted(AUDIO.iterdir()) if path.suffix != ".md"]
    speech = np.resize(np.concatenate(clips), 150 * RATE)
    noise = np.random.default_rng(0).normal(0, 0.003, 150 * RATE)
    signal = np.concatenate([speech, noise, np.zeros(300 * RATE)])
    return (np.clip(signal, -1, 1) * 32_767).astype(np.int16)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def follow(hours: float) -> Iterator[tuple[float, float, float, Counter[str]]]:
    """For each ten minutes: memory in MB, seconds of processor time, drift in seconds, events since the beginning."""
    audio = ten_minutes()
    stream = Detector().stream(sample_rate=RATE)
    events: Counter[str] = Counter()
    first: list[float] = []
    for i in range(round(hours * 6)):
        began, times = time.process_time(), list[float]()
        for start in range(0, len(audio), CHUNK):
            for event in stream.feed(audio[start : start + CHUNK]):
                events[event.kind] += 1
                times.append(event.time - 600 * i)
        first = first or times
        gc.collect()
        drift = max(abs(a - b) for a, b in zip(first, times, strict=True))
        yield resident_mb(), time.process_time() - began, drift, events
    result = stream.finish()
    print(f"duration {result.duration:.6f} s, speech {result.speech:.0f} s, segments kept {len(result.segments)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    first = None
    for i, (memory, seconds, drift, events) in enumerate(follow(parser.parse_args().hours)):
        first = memory if first is None else first
        print(
            f"{(i + 1) / 6:6.2f} h  {memory:7.1f} MB  {memory - first:+6.2f} MB since 10 min  "
            f"{seconds / 600:.1%} of a core  drift {drift:.3f} s  {dict(events)}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What a fresh process pays for its first verdict. `vivavoce.bench.stages` runs this file as a script of its own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from time import perf_counter

__all__ = ["peak_bytes", "probe"]


def probe(bundle: str, file: str, precision: str | None, threads: int) -> dict[str, float | None]:
    """Seconds from the start to each step, and bytes of resident memory at the peak, for one detector on one file.

    The speech gate works on the first window, as it would before any verdict, but does not decide: every window is scored.
    """
    start = perf_counter()
    from vivavoce import Detector
    from vivavoce.audio import load, open_audio
    from vivavoce.listening.speech_gate import SpeechGate

    imported = perf_counter()
    detector = Detector(bundle, precision=precision, threads=threads, speech_gate=False)
    loaded = perf_counter()
    contract = detector.bundle.manifest.audio
    # Reading the window is not counted: a live stream has it already. One block alone is read, to keep the peak honest.
    with open_audio(file) as audio:
        window = load((next(audio.blocks), audio.rate), contract.sample_rate)[: contract.window]
    read = perf_counter()
    SpeechGate().feed(window)
    detector.detect((window, contract.sample_rate))
    first = perf_counter()
    detector.detect(file)
    return {
        "import": imported - start,
        "load": loaded - imported,
        "first_window": first - read,
        "first_verdict": first - start - (read - loaded),
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int | None:
    """The peak resident memory of this process in bytes; None where the system does not tell (Windows).

    Linux's own figure comes first: `ru_maxrss` survives exec there, so that of a child is never below its parent's.
    """
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(peak[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    print(json.dumps(probe(**settings)))

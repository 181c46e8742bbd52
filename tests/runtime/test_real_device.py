"""The microphone on a real PortAudio, where the machine has one: an ALSA device without hardware that plays from a file.

It does not wait for time to pass, so that it delivers hundreds of times faster than a microphone, and the queue overflows.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from speaking import RATE, speech

ALSA = """
pcm.voice {{ type file; slave {{ pcm {{ type null }} }} file "/dev/null"; infile "{infile}"; format "raw" }}
pcm.!default {{ type plug; slave.pcm "voice" }}
"""


@pytest.fixture
def alsa(tmp_path: Path) -> dict[str, str]:
    """An environment in which the device "voice" delivers the file voice.raw."""
    if not sys.platform.startswith("linux"):
        pytest.skip("ALSA is Linux's")
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"sounddevice cannot be used: {error}")
    (tmp_path / "asound.conf").write_text(ALSA.format(infile=tmp_path / "voice.raw"))
    (tmp_path / "voice.raw").touch()
    environment = {**os.environ, "ALSA_CONFIG_PATH": str(tmp_path / "asound.conf")}
    done = subprocess.run(vivavoce("devices", "--json"), env=environment, capture_output=True, text=True, check=False)
    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    if "voice" not in names:
        pytest.skip(f"this PortAudio does not list ALSA's devices: {names} {done.stderr}")
    return environment


def vivavoce(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vivavoce", *map(str, arguments)]


def deliver(samples: NDArray[np.float32], alsa: dict[str, str]) -> None:
    (Path(alsa["ALSA_CONFIG_PATH"]).parent / "voice.raw").write_bytes(samples.astype("<f4").tobytes())


HEAR = """
import numpy as np, sys
from vivavoce import Microphone
from vivavoce.sources import Lost

position = 0
with Microphone("voice", sample_rate=16_000) as microphone:
    for item in microphone:
        if isinstance(item, Lost):
            position += item.frames
        else:
            np.testing.assert_array_equal(item[:, 0], np.arange(position, position + len(item), dtype=np.float32))
            position += len(item)
        if position > 500_000:
            microphone.close()
print(microphone.name, position == microphone.received, microphone.dropped < position)
"""


def test_every_sample_arrives_in_its_place_or_is_counted(alsa: dict[str, str]) -> None:
    deliver(np.arange(16_000_000, dtype=np.float32), alsa)
    done = subprocess.run([sys.executable, "-c", HEAR], env=alsa, capture_output=True, text=True, check=False)
    assert done.stdout == "voice, ALSA True True\n", done.stderr[-2000:]


def test_listening_to_a_device_that_outruns_the_detector_ends_with_everything_counted(
    alsa: dict[str, str], tiny_bundle: Path
) -> None:
    deliver(np.concatenate([speech(5), np.zeros(3600 * RATE, np.float32)]), alsa)
    # A test run in the background has Ctrl-C ignored, and its children inherit that.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = vivavoce("listen", "--device", "voice", "--rate", RATE, "--json", "--bundle", tiny_bundle)
    pipes: Any = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=alsa, preexec_fn=default, text=True, **pipes) as process:
        assert process.stdout
        lines, awaited = [], {"verdict", "overflow"}
        while awaited and (line := process.stdout.readline()):
            lines.append(json.loads(line))
            awaited.discard(lines[-1]["kind"])
        process.send_signal(signal.SIGINT)
        lines += map(json.loads, process.stdout)
        assert process.wait() == 0
    kinds = [line["kind"] for line in lines]
    assert kinds[-1] == "finished"
    assert not awaited
    result = lines[-1]["result"]
    assert result["verdict"] == "bonafide"
    assert result["missing"] == pytest.approx(sum(line["lost"] for line in lines))
    assert result["duration"] > result["missing"] + 5

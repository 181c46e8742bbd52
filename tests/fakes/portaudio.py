"""A stand-in for the module sounddevice whose devices misbehave on request."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FakeSoundDevice", "FakeStream"]


class PortAudioError(Exception):
    """As sounddevice's."""


class FakeStream:
    """One open input stream; `hear` plays PortAudio's thread."""

    def __init__(self, module: FakeSoundDevice, **settings: Any) -> None:
        device = module.check_input_settings(**{key: settings[key] for key in ("device", "channels", "dtype", "samplerate")})
        self.module, self.settings = module, settings
        self.samplerate = float(device.get("actual_rate") or settings["samplerate"])
        self.callback: Callable[..., None] = settings["callback"]
        self.finished: Callable[[], None] = settings["finished_callback"]
        self.running = self.closed = False
        self._buffer = np.zeros((0, 0), np.float32)
        module.streams.append(self)

    def start(self) -> None:
        if self.module.refusals:
            raise PortAudioError(self.module.refusals.pop())
        self.running = True

    def close(self) -> None:
        if not self.closed:
            self.running, self.closed = False, True
            self.finished()

    def hear(self, samples: NDArray[np.float32], *, overflow: bool = False, clock: float = 0.0) -> None:
        """Calls back with a block, whose memory is used again for the next one, as PortAudio's is."""
        block = samples.reshape(len(samples), -1)
        if self._buffer.shape != block.shape:
            self._buffer = np.empty_like(block)
        self._buffer[:] = block
        self.callback(
            self._buffer, len(block), SimpleNamespace(inputBufferAdcTime=clock), SimpleNamespace(input_overflow=overflow)
        )
        self._buffer[:] = np.nan


class FakeSoundDevice:
    """The parts of sounddevice that the microphone uses. `devices` may change; PortAudio notices when it is initialized."""

    PortAudioError = PortAudioError
    HOST = "ALSA"

    def __init__(self, *devices: dict[str, Any]) -> None:
        self.devices = list(devices)
        self.streams: list[FakeStream] = []
        self.initializations = 0
        self.refusals: list[str] = []
        """What the next streams say when they are started, and the next initializations."""
        self.default = SimpleNamespace(device=[0, -1])
        self._initialize()

    @staticmethod
    def device(name: str, rate: float = 48_000.0, channels: int = 1, **more: Any) -> dict[str, Any]:
        return {"name": name, "hostapi": 0, "max_input_channels": channels, "default_samplerate": rate, **more}

    def _initialize(self) -> None:
        self.initialized = False
        if self.refusals:
            raise PortAudioError(self.refusals.pop())
        self.initialized = True
        self.initializations += 1
        self.listed = list(self.devices)

    def _terminate(self) -> None:
        if not self.initialized:
            raise PortAudioError("PortAudio not initialized")
        assert all(stream.closed for stream in self.streams), "PortAudio must not end under an open stream"

    def query_hostapis(self, index: int | None = None) -> Any:
        hosts = ({"name": self.HOST},)
        return hosts if index is None else hosts[index]

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if device is None and kind is None:
            return list(self.listed)
        if device is None:
            if not self.listed:
                raise PortAudioError("Error querying device -1")
            return {"index": 0, **self.listed[0]}
        for index, found in enumerate(self.listed):
            if device in (index, found["name"], f"{found['name']}, {self.HOST}"):
                return {"index": index, **found}
        if isinstance(device, int):
            raise PortAudioError(f"Error querying device {device}")
        raise ValueError(f"No input device matching {device!r}")

    def check_input_settings(self, *, device: int, channels: int, dtype: str, samplerate: float) -> dict[str, Any]:
        found = self.listed[device]
        if found not in self.devices:
            raise PortAudioError("Device unavailable")
        if channels not in found.get("allowed_channels", range(1, found["max_input_channels"] + 1)):
            raise PortAudioError("Invalid number of channels")
        if samplerate not in found.get("allowed_rates", (samplerate,)):
            raise PortAudioError("Invalid sample rate")
        assert dtype == "float32"
        return found

    def InputStream(self, **settings: Any) -> FakeStream:  # noqa: N802
        return FakeStream(self, **settings)

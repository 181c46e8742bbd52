"""The microphone on a PortAudio that misbehaves: nothing is lost uncounted, nothing crashes, and it comes back."""

from __future__ import annotations

import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from portaudio import FakeSoundDevice, FakeStream
from speaking import RATE, speech

from vivavoce import ConfigurationError, Detector, DeviceError, Microphone, microphone
from vivavoce.microphone import Device, devices
from vivavoce.sources import ChunkSource, Lost

USB = FakeSoundDevice.device("USB microphone", 16_000.0)
ARRAY = FakeSoundDevice.device("Array", 48_000.0, 4, allowed_rates=(48_000,), allowed_channels=(4,))
SPEAKERS = FakeSoundDevice.device("Speakers", 44_100.0, 0)


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> FakeSoundDevice:
    fake = FakeSoundDevice(USB, SPEAKERS, ARRAY)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(microphone, "STALL_SECONDS", 0.02)
    monkeypatch.setattr(microphone, "BACK_OFF", (0.001, 0.002))
    return fake


def ramp(begin: int, end: int, channels: int = 1) -> NDArray[np.float32]:
    return np.repeat(np.arange(begin, end, dtype=np.float32)[:, None], channels, axis=1)


def test_devices_are_the_inputs(portaudio: FakeSoundDevice) -> None:
    assert devices() == [
        Device(0, "USB microphone", "ALSA", 1, 16_000, True),
        Device(2, "Array", "ALSA", 4, 48_000, False),
    ]
    portaudio.devices.clear()
    portaudio._initialize()
    assert devices() == []


@pytest.mark.parametrize("selected", [2, "Array"])
def test_device_is_opened_at_its_own_rate_with_the_fewest_channels_that_it_gives(
    portaudio: FakeSoundDevice, selected: int | str
) -> None:
    with Microphone(selected) as opened:
        assert (opened.sample_rate, opened.channels) == (48_000, 4)
    with Microphone() as opened:
        assert (opened.name, opened.sample_rate, opened.channels) == ("USB microphone, ALSA", 16_000, 1)
        assert portaudio.streams[-1].running
    assert portaudio.streams[-1].closed


def test_rate_that_the_device_reports_is_believed(portaudio: FakeSoundDevice) -> None:
    portaudio.devices[0] = portaudio.listed[0] = FakeSoundDevice.device("Odd", 48_000.0, actual_rate=44_099.7)
    with Microphone() as opened:
        assert opened.sample_rate == 44_100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"device": "Telephone"},
            r"device 'Telephone' cannot be opened: No input device matching.*0 \"USB microphone\", 2 \"Array\"",
        ),
        ({"device": 7}, r"device 7 cannot be opened: Error querying device 7.*Choose one of"),
        ({"device": 2, "sample_rate": 16_000}, "Invalid sample rate"),
        ({"device": 0, "channels": 2}, "Invalid number of channels"),
    ],
    ids=str,
)
def test_device_that_cannot_be_opened_names_the_others(
    portaudio: FakeSoundDevice, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        Microphone(**settings).__enter__()


def test_no_device_at_all(portaudio: FakeSoundDevice) -> None:
    portaudio.devices.clear()
    portaudio._initialize()
    with pytest.raises(DeviceError, match=r"default input device cannot be opened: .* There is no input device; connect one"):
        Microphone().__enter__()


def test_missing_portaudio_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    for action in (devices, Microphone().__enter__):
        with pytest.raises(DeviceError, match="apt install libportaudio2"):
            action()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(({"buffer_seconds": seconds}, "buffer_seconds") for seconds in (0, -1, float("nan"), "10")),
        *(({"sample_rate": rate}, "from 8000|Rates") for rate in (4000, "16000")),
        *(({"channels": channels}, "1 to 64") for channels in (0, "2")),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Microphone(**settings)


def test_blocks_of_odd_sizes_are_copied_and_joined(portaudio: FakeSoundDevice) -> None:
    with Microphone(2) as opened:
        stream = portaudio.streams[-1]
        ends = np.cumsum([0, 480, 1, 333, 7, 1024])
        for begin, end in pairwise(ends):
            stream.hear(ramp(begin, end, 4))
        np.testing.assert_array_equal(next(iter(opened)), ramp(0, ends[-1], 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 400), st.just("read")), max_size=40))
@example([400, 400, 400, 100])
def test_every_sample_is_delivered_or_counted_where_it_was_dropped(steps: list[int | str]) -> None:
    """Blocks of any size against a queue of 1000 samples, read now and then."""
    fake = FakeSoundDevice(USB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sounddevice", fake)
        with Microphone(buffer_seconds=1000 / 16_000) as opened:
            items, said = [], 0
            for step in [*steps, "read"]:
                if isinstance(step, int):
                    fake.streams[-1].hear(ramp(said, said + step))
                    said += step
                elif opened.received > sum(map(frames_of, items)):
                    items += opened._queue.take(0)
    position = 0
    for item in items:
        if isinstance(item, Lost):
            assert item.kind == "overflow"
        else:
            np.testing.assert_array_equal(item, ramp(position, position + len(item)))
            assert len(item) <= 1000
        position += frames_of(item)
    assert position == said == opened.received
    assert opened.dropped == sum(item.frames for item in items if isinstance(item, Lost))


def frames_of(item: Lost | NDArray[np.float32]) -> int:
    return item.frames if isinstance(item, Lost) else len(item)


def heard(opened: Microphone) -> list[Any]:
    return [item if isinstance(item, Lost) else len(item) for item in opened._queue.take(0)]


def test_overflow_of_the_device_is_measured_on_its_clock(portaudio: FakeSoundDevice) -> None:
    with Microphone() as opened:
        stream = portaudio.streams[-1]
        stream.hear(ramp(0, 160), clock=5.0)
        stream.hear(ramp(0, 160), clock=5.01)
        stream.hear(ramp(0, 160), clock=5.035, overflow=True)  # 15 ms later than the last block ended
        assert heard(opened) == [320, Lost(240, "overflow"), 160]


@pytest.mark.parametrize("clock", [0.0, 4.0, 1e9])
def test_overflow_without_a_clock_to_trust_stays_small(portaudio: FakeSoundDevice, clock: float) -> None:
    with Microphone() as opened:
        stream = portaudio.streams[-1]
        stream.hear(ramp(0, 160), clock=5.0)
        stream.hear(ramp(0, 160), clock=clock, overflow=True)
        _, lost, _ = heard(opened)
        assert lost == Lost(0 if clock < 5 else round(0.02 * 16_000), "overflow")


@pytest.fixture
def seconds_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock finds that a second has passed."""
    clock = iter(range(1000))
    monkeypatch.setattr(microphone.time, "monotonic", lambda: next(clock))


@pytest.mark.usefixtures("seconds_pass")
@pytest.mark.parametrize("says_so", [True, False], ids=["stopped", "stalled"])
def test_device_that_disappears_is_found_again_by_its_name_while_time_goes_on(
    portaudio: FakeSoundDevice, says_so: bool
) -> None:
    with Microphone(0) as opened:
        items = iter(opened)
        first = portaudio.streams[-1]
        first.hear(ramp(0, 160))
        assert len(next(items)) == 160
        portaudio.devices.remove(USB)
        if says_so:
            first.finished()
        assert next(items) == Lost(0, "device-lost")
        assert [next(items), next(items)] == [Lost(16_000, "gap")] * 2
        assert first.closed
        portaudio.devices.append(USB)
        assert next(items) == Lost(16_000, "device-back")
        second = portaudio.streams[-1]
        assert (second is not first, second.running, second.settings["device"]) == (True, True, 2)
        second.hear(ramp(0, 99))
        assert len(next(items)) == 99
    assert portaudio.initializations == 4


@pytest.mark.usefixtures("seconds_pass")
def test_default_device_may_be_another_one_after_a_loss(portaudio: FakeSoundDevice) -> None:
    portaudio.devices = portaudio.listed = [USB, FakeSoundDevice.device("Built-in", 44_100.0)]
    with Microphone() as opened:
        items = iter(opened)
        portaudio.devices = [FakeSoundDevice.device("Built-in", 44_100.0)]
        assert [next(items).kind, next(items).kind] == ["device-lost", "device-back"]
        assert portaudio.streams[-1].settings["samplerate"] == 16_000


@pytest.mark.usefixtures("seconds_pass")
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (48_000, 2), (44_100, 1)])
def test_device_that_comes_back_with_another_format_is_converted(portaudio: FakeSoundDevice, rate: int, channels: int) -> None:
    with Microphone() as opened:
        items = iter(opened)
        portaudio.devices = [FakeSoundDevice.device("USB microphone", 16_000.0, actual_rate=rate, channels=channels)]
        assert [next(items).kind for _ in range(2)] == ["device-lost", "device-back"]
        portaudio.streams[-1].hear(np.full((rate, portaudio.streams[-1].settings["channels"]), 0.25, np.float32))
        heard = next(items)
        assert heard.shape[1] == opened.channels
        assert len(heard) == pytest.approx(opened.sample_rate, rel=0.1)
        np.testing.assert_allclose(heard[2000:-2000], 0.25, atol=0.01)


@pytest.mark.usefixtures("seconds_pass")
def test_own_rate_that_no_stream_takes_gives_way_to_a_common_one(portaudio: FakeSoundDevice) -> None:
    portaudio.devices = [FakeSoundDevice.device("ultrasonic", 384_000.0)]
    portaudio._initialize()
    with Microphone() as opened:
        assert opened.sample_rate == 48_000


@pytest.mark.usefixtures("seconds_pass")
def test_refusals_on_the_way_back_are_waited_out(portaudio: FakeSoundDevice) -> None:
    with Microphone() as opened:
        items = iter(opened)
        assert next(items).kind == "device-lost"
        for refusal in ("Host error", "Device unavailable"):
            portaudio.refusals = [refusal]
            assert next(items).kind == "gap"
        assert next(items).kind == "device-back"


def test_device_that_does_not_start_is_released(portaudio: FakeSoundDevice) -> None:
    portaudio.refusals = ["Device busy"]
    with pytest.raises(DeviceError, match="Device busy"):
        Microphone().__enter__()
    assert portaudio.streams[-1].closed


def test_loss_is_an_error_where_nobody_wants_to_wait(portaudio: FakeSoundDevice) -> None:
    with Microphone(reconnect=False) as opened, pytest.raises(DeviceError, match="USB microphone, ALSA stopped"):
        list(opened)
    assert portaudio.streams[-1].closed


def test_callback_after_the_end_is_ignored(portaudio: FakeSoundDevice) -> None:
    with Microphone() as opened:
        portaudio.streams[-1].hear(ramp(0, 160))
    portaudio.streams[-1].hear(ramp(160, 320))
    opened.close()
    assert opened.received == 160
    with pytest.raises(ConfigurationError, match="Make a new one"):
        opened.__enter__()


def test_what_was_heard_before_closing_is_delivered(portaudio: FakeSoundDevice) -> None:
    with Microphone() as opened:
        items = iter(opened)
        portaudio.streams[-1].hear(ramp(0, 160))
        assert len(next(items)) == 160
        portaudio.streams[-1].hear(ramp(160, 259))
        opened.close()
        np.testing.assert_array_equal(np.concatenate(list(items)), ramp(160, 259))


@pytest.mark.parametrize("gone", [False, True], ids=["while it hears", "while the device is gone"])
def test_closing_from_another_thread_ends_listening_with_a_result(
    portaudio: FakeSoundDevice, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    monkeypatch.setattr(microphone, "STALL_SECONDS", 0.02 if gone else 60)
    monkeypatch.setattr(microphone, "BACK_OFF", (60,))
    detector, kinds = Detector(tiny_bundle), []
    with Microphone() as opened:
        portaudio.streams[-1].hear(speech(2))
        timer = threading.Timer(0.05, opened.close)
        for event in detector.listen(opened):
            kinds.append(event.kind)
            if event.kind == ("device-lost" if gone else "speech-started"):
                timer.start()
    assert kinds[-1] == "finished"
    assert event.result is not None
    assert event.result.duration == 2
    assert portaudio.streams[-1].closed


def test_microphone_closed_before_anybody_listens_gives_what_it_heard(portaudio: FakeSoundDevice) -> None:
    opened = Microphone()
    opened.__enter__()
    portaudio.streams[-1].hear(ramp(0, 160))
    opened.close()
    assert [len(item) for item in opened if not isinstance(item, Lost)] == [160]
    with pytest.raises(ConfigurationError, match="Make a new one"):
        next(iter(opened))


def test_microphone_closed_before_it_was_opened_stays_closed(portaudio: FakeSoundDevice) -> None:
    opened = Microphone()
    opened.close()
    with pytest.raises(ConfigurationError, match="Make a new one"):
        opened.__enter__()
    assert portaudio.streams == []


def test_interruption_releases_the_device(portaudio: FakeSoundDevice, tiny_bundle: Path) -> None:
    def interrupted() -> None:
        with Microphone() as opened:
            portaudio.streams[-1].hear(speech(2))
            for _ in Detector(tiny_bundle).listen(opened):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert portaudio.streams[-1].closed


def test_closing_while_the_device_is_being_opened_releases_it(
    portaudio: FakeSoundDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Microphone()
    start = FakeStream.start

    def close_meanwhile(stream: FakeStream) -> None:
        start(stream)
        opened.close()

    monkeypatch.setattr(FakeStream, "start", close_meanwhile)
    opened.__enter__()
    assert portaudio.streams[-1].closed
    assert list(opened._queue.take(0)) == []


def test_second_to_close_waits_until_the_device_is_released(
    portaudio: FakeSoundDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, released = threading.Event(), threading.Event()
    close = FakeStream.close

    def close_slowly(stream: FakeStream) -> None:
        closing.set()
        released.wait()
        close(stream)

    monkeypatch.setattr(FakeStream, "close", close_slowly)
    opened = Microphone()
    opened.__enter__()
    first, second = (threading.Thread(target=opened.close) for _ in range(2))
    first.start()
    closing.wait()
    second.start()
    second.join(0.05)
    assert second.is_alive()
    released.set()
    second.join()
    first.join()
    assert portaudio.streams[-1].closed


def test_signal_that_closes_what_is_being_closed_does_not_block(
    portaudio: FakeSoundDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Microphone()
    close, closed = FakeStream.close, []

    def close_and_be_interrupted(stream: FakeStream) -> None:
        closed.append(stream)
        opened.close()
        close(stream)

    monkeypatch.setattr(FakeStream, "close", close_and_be_interrupted)
    opened.__enter__()
    opened.close()
    assert closed == portaudio.streams


@pytest.mark.parametrize("seed", range(3))
def test_microphone_in_a_thread_of_its_own_hears_what_was_said(
    portaudio: FakeSoundDevice, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(microphone, "STALL_SECONDS", 60)
    detector, said = Detector(tiny_bundle), speech(3)
    opened = Microphone(buffer_seconds=60)
    opened.__enter__()
    sizes = np.random.default_rng(seed).integers(1, 3000, 100).cumsum()

    def speak() -> None:
        for block in np.split(said, sizes[sizes < len(said)]):
            portaudio.streams[-1].hear(block)
        opened.close()

    speaker = threading.Thread(target=speak)
    speaker.start()
    events = list(detector.listen(opened))
    speaker.join()
    assert events == list(detector.listen(ChunkSource([said], RATE)))

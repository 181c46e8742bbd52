"""Listens to a microphone and tells what it hears, until Ctrl-C: who begins to speak, and each change of the verdict.

An alarm takes two windows in a row, so that one odd window does not ring. Needs `pip install "vivavoce[app]"`.

python examples/monitor_microphone.py --list
python examples/monitor_microphone.py --device USB --log events.jsonl
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from vivavoce import Detector, Event, Microphone, Policy, VivavoceError
from vivavoce.microphone import devices


def describe(event: Event) -> str | None:
    """One line for people; None for what is not news."""
    if event.kind == "verdict":
        return f"{event.verdict}, score {event.score:+.2f}" if event.changed else None
    if event.kind == "finished" and event.result is not None:
        return f"over: {event.result.duration:.0f} s heard, {event.result.speech:.0f} s of speech, {event.result.verdict}"
    return f"{event.kind}, {event.lost:.1f} s lost" if event.lost else event.kind


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="an index, or a part of the device's name; the default one otherwise")
    parser.add_argument("--list", action="store_true", help="list the input devices and stop")
    parser.add_argument("--alarm-after", type=int, default=2, help="windows in a row that make an alarm (2)")
    parser.add_argument("--log", type=Path, help="append every event to this file, one JSON object a line")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the embedded one by default")
    options = parser.parse_args(arguments)
    if options.list:
        for one in devices():
            print(f"{one.index:3} {'*' if one.default else ' '} {one.name} ({one.host}), {one.sample_rate} Hz")
        return 0

    device = int(options.device) if options.device and options.device.isdigit() else options.device
    detector = Detector(options.bundle)
    with ExitStack() as stack:
        log = stack.enter_context(options.log.open("a", encoding="utf-8")) if options.log else None
        microphone = stack.enter_context(Microphone(device))
        # Ctrl-C closes the microphone instead of raising, so that the last event, with the result, still comes.
        before = signal.signal(signal.SIGINT, lambda *_: microphone.close())
        stack.callback(signal.signal, signal.SIGINT, before)
        print(f"Listening at {microphone.sample_rate} Hz. Ctrl-C ends it.", flush=True)
        for event in detector.listen(microphone, policy=Policy(alarm_after=options.alarm_after, clear_after=2)):
            if line := describe(event):
                print(f"{event.time:8.1f} s  {line}", flush=True)
            if log:
                print(json.dumps(event.to_dict()), file=log, flush=True)
        print(f"{microphone.dropped} of {microphone.received} samples dropped")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")

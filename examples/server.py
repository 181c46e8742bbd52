"""Judges many calls at once: a TCP server with asyncio, one detector, one stream a connection.

A client sends one line of JSON, {"sample_rate": 16000}, then raw int16 samples (little-endian, mono). The server answers with
one line of JSON an event; the last is "finished", with the result.

python examples/server.py                              serve on 127.0.0.1:8765
python examples/server.py --call examples/audio/*.flac play recordings to it, all at the same time
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from vivavoce import Detector, Policy, VivavoceError
from vivavoce.audio import load
from vivavoce.sources import AsyncChunkSource

READ = 8192
"""Bytes at a time, at most. The reader's buffer is bounded, so a client that sends faster than it is judged has to wait."""


async def pcm(reader: asyncio.StreamReader) -> AsyncIterator[np.ndarray[Any, np.dtype[np.int16]]]:
    """The samples of one connection, as they come."""
    rest = b""
    while data := await reader.read(READ):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.int16)


async def answer(detector: Detector, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One call, from its first line to its result."""

    async def send(message: dict[str, Any]) -> None:
        writer.write((json.dumps(message) + "\n").encode())
        await writer.drain()

    try:
        rate = json.loads(await reader.readline())["sample_rate"]
        async for event in detector.alisten(AsyncChunkSource(pcm(reader), rate), policy=Policy(scores=True)):
            await send(event.to_dict())
    except (VivavoceError, ValueError, KeyError, TypeError) as error:
        await send({"kind": "error", "message": str(error)})
    except ConnectionError:
        pass  # The caller hung up.
    finally:
        writer.close()


async def serve(detector: Detector, host: str, port: int) -> asyncio.Server:
    """A running server; port 0 takes any that is free."""
    return await asyncio.start_server(lambda reader, writer: answer(detector, reader, writer), host, port)


async def call(recording: Path, host: str, port: int) -> list[dict[str, Any]]:
    """What the server says about one recording."""
    samples = (32_767 * (await asyncio.to_thread(load, recording, 16_000)).clip(-1, 1)).astype("<i2")
    reader, writer = await asyncio.open_connection(host, port, limit=2**24)
    writer.write(b'{"sample_rate": 16000}\n' + samples.tobytes())
    writer.write_eof()
    events = [json.loads(line) async for line in reader]
    writer.close()
    return events


async def run(options: argparse.Namespace) -> None:
    if options.call:
        answers = await asyncio.gather(*(call(path, options.host, options.port) for path in options.call))
        for path, events in zip(options.call, answers, strict=True):
            last = events[-1] if events else {"message": "the server hung up"}
            print(f"{path}: {last.get('verdict') or last.get('message')}, {len(events)} events")
        return
    server = await serve(Detector(options.bundle), options.host, options.port)
    print(f"Listening on {options.host}:{options.port}. Ctrl-C ends it.", flush=True)
    async with server:
        await server.serve_forever()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on, or to call (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8765, help="port (8765)")
    parser.add_argument("--call", nargs="+", type=Path, metavar="RECORDING", help="be the client, and send these")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the embedded one by default")
    asyncio.run(run(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (VivavoceError, OSError) as error:
        sys.exit(f"Error: {error}")

"""No damage makes a traceback, a hang, audio that did not come in, or another answer by another way in; see fuzzing.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZING = Path(__file__).parents[2] / "fakes" / "fuzzing.py"
FEW, DRAWN, MANY, EACH = 250, 50, 10_000, 500
"""How many inputs the suite tries, how many more Hypothesis draws for it; how many a night, and how many of these a process."""

NIGHT = [pytest.param(first, EACH, 0, marks=pytest.mark.slow) for first in range(FEW, MANY, EACH)]


@pytest.mark.parametrize(("first", "count", "drawn"), [(0, FEW, DRAWN), *NIGHT])
def test_damaged_recordings_are_refused_or_judged_alike_by_every_way_in(first: int, count: int, drawn: int) -> None:
    # A process of its own, which a hang or a crash of a decoder ends: what it names last is the input that did it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, str(FUZZING), str(first), str(count), str(drawn)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    last = done.stdout.split()[-2:]
    assert done.returncode == 0, f"input {last}, ended with {done.returncode}: {done.stderr[-2000:]}"

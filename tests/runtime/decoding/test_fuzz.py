"""No damage makes a traceback, a hang, audio that did not come in, or another answer by another way in; see fuzzing.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZING = Path(__file__).parents[2] / "fakes" / "fuzzing.py"
COUNT = int(os.environ.get("VIVAVOCE_FUZZ", "300"))
"""How many inputs; 10,000 for a night."""

EACH = 500


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, COUNT, EACH))
def test_damaged_recordings_are_refused_or_judged_alike_by_every_way_in(first: int) -> None:
    # A process of its own, which a hang or a crash of a decoder ends: the last number it names is the input that did it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, str(FUZZING), str(first), str(min(EACH, COUNT - first))]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    last = done.stdout.split()[-1:]
    assert done.returncode == 0, f"input {last}, ended with {done.returncode}: {done.stderr[-2000:]}"

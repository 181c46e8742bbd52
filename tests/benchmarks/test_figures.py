"""The README's costs: a processor's table stays beside another's, as long as it tells of the bundles that ship."""

from __future__ import annotations

import figures

NAMES = " | `default` 6 | `large` 2 |"
TABLES = "\n".join(
    [
        *("", f"| One (avx2), one thread{NAMES}", "| --- |", "| a | 1 |"),
        *("", f"| One (avx2, avx512f), one thread{NAMES}", "| --- |", "| a | 2 |"),
        *("", "| Two (avx2), one thread | `default` 5 | `large` 2 |", "| --- |", "| a | 3 |", ""),
    ]
)


def test_tables_of_other_processors_and_the_same_bundles_stay() -> None:
    kept = figures.elsewhere(TABLES, "| One (avx2), ", NAMES)
    assert [one.splitlines()[-1] for one in kept] == ["| a | 2 |"]
    assert len(figures.elsewhere(TABLES, "| Three (), ", NAMES)) == 2
    assert figures.elsewhere("\n", "| One (avx2), ", NAMES) == []

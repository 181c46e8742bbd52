"""The search's table and plot: every bundle with its figures, drawn where its size and time say."""

from __future__ import annotations

import io

import pytest
import search

from vivavoce.bundle import Evaluation


def figures(error: float) -> dict[tuple[str, str], Evaluation]:
    rest = {"corpus": "c", "bonafide": 10, "spoof": 12, "engine": "e"}
    return {
        (metric, subset): Evaluation(metric=metric, value=value, low=value - 0.05, high=value + 0.05, subset=subset, **rest)  # type: ignore[arg-type]
        for metric, value in (("EER", error), ("AUC", 1 - error))
        for subset in ("dev", "eval")
    }


@pytest.fixture
def points() -> list[search.Point]:
    return [
        search.Point("small", "int8", 1_000_000, 1.2, (3.0, 2.5, 3.5), figures(0.3)),
        search.Point("large", "int8", 9_000_000, 9.8, (20.0, 19.0, 24.0), figures(0.2)),
    ]


def test_the_table_has_a_row_for_each_bundle(points: list[search.Point]) -> None:
    text = search.table(points)
    assert "dev (10 bona fide, 12 spoof), eval (10 bona fide, 12 spoof)" in text
    assert "| small | INT8 | 1.0 M | 1.2 MB | 3.0 ms (2.5 to 3.5) | 30.0 % (25.0 to 35.0) | .700 |" in text
    assert "| large | INT8 | 9.0 M | 9.8 MB | 20.0 ms (19.0 to 24.0) | 20.0 % (15.0 to 25.0) | .800 |" in text


def test_the_plot_names_each_bundle_at_its_size_and_its_time(points: list[search.Point]) -> None:
    figure = search.draw(points)
    for axes, places in zip(figure.axes, ([1.2, 9.8], [3.0, 20.0]), strict=True):
        assert [(text.get_text(), text.xy[0]) for text in axes.texts] == [  # type: ignore[attr-defined]
            ("small", places[0]),
            ("large", places[1]),
        ]
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    assert b"</svg>" in buffer.getvalue()

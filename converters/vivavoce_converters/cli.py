"""The builders' verbs of the command `vivavoce`. Heavy libraries are imported when a verb runs, not for its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vivavoce.errors import needs_extra

__all__ = ["distill_command"]

EXTRA = "convert"


def distill_command(
    recipe: Annotated[str, typer.Argument(help="A recipe file (TOML), or the name of a built-in one such as: default.")],
    corpus: Annotated[Path, typer.Option(help="A corpus with the subsets train and dev.")],
    teacher: Annotated[Path, typer.Option(help="Whisper encoder weights (safetensors) that teach the student's features.")],
    out: Annotated[Path, typer.Option(help="The run's folder; give the same one to go on after an interruption.")],
    device: Annotated[str | None, typer.Option(help="A torch device; by default cuda where there is one.")] = None,
) -> None:
    """Teach a small student a teacher's features and a corpus' labels. Resumable; logs and plots into OUT."""
    with needs_extra(EXTRA):
        from vivavoce_calibration.corpora import read_corpus

        from .distill import distill
        from .frontends import WhisperFrontEnd
        from .recipe import load_recipe

    chosen = load_recipe(recipe)
    encoder = WhisperFrontEnd.from_file(teacher, layers=max(chosen.teacher_layers))
    train, dev = (read_corpus(corpus, subset=subset) for subset in ("train", "dev"))
    student = distill(chosen, encoder, train, dev, out, device=device)
    typer.echo(f"{student}\nNext: vivavoce convert {student} --out BUNDLE")

"""The builders' verbs of the command `vivavoce`. Heavy libraries are imported when a verb runs, not for its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vivavoce.errors import needs_extra

__all__ = ["convert_command", "distill_command", "quantize_command"]

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


def convert_command(
    checkpoint: Annotated[Path, typer.Argument(help="An official Nes2Net or AASIST checkpoint, or a student of this library.")],
    out: Annotated[Path, typer.Option(help="The bundle to make: a new directory.")],
    layers: Annotated[int | None, typer.Option(help="Keep only the first layers of the encoder.")] = None,
    dilation: Annotated[int | None, typer.Option(help="Of Nes2Net's inner convolutions; the weights do not tell.")] = None,
    selu: Annotated[
        bool, typer.Option("--selu", help="The checkpoint is of the SELU variant; the weights do not tell.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The bundle's name; by default that of its directory.")] = None,
    licence: Annotated[str, typer.Option(help="The licence of the weights, for the manifest.")] = "unknown",
    trained_on: Annotated[
        list[str] | None, typer.Option(help="A corpus of the training, for the manifest; repeatable.")
    ] = None,
) -> None:
    """Turn a checkpoint into a bundle whose float32 ONNX engine scores as the checkpoint does."""
    with needs_extra(EXTRA):
        from .convert import convert

    activation = "selu" if selu else None
    bundle = convert(
        checkpoint,
        out,
        name=name,
        licence=licence,
        corpora=trained_on or (),
        layers=layers,
        dilation=dilation,
        activation=activation,
    )
    _describe(bundle.path, [engine.file for engine in bundle.manifest.engines])
    typer.echo(f"Next: vivavoce quantize {out} --target x86-vnni --calibration CORPUS --out NEW")


def quantize_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a float32 ONNX engine.")],
    target: Annotated[str, typer.Option(help="x86-vnni, x86-avx2, arm64 or tensorrt.")],
    calibration: Annotated[Path, typer.Option(help="The corpus that activation ranges are taken from; never evaluation data.")],
    out: Annotated[Path, typer.Option(help="The bundle to make: a new directory.")],
    subset: Annotated[str, typer.Option(help="The corpus' subset.")] = "train",
    count: Annotated[int, typer.Option(min=8, help="How many windows to take ranges from.")] = 256,
    keep_float: Annotated[bool, typer.Option("--keep-float", help="Keep the float32 engine in the bundle too.")] = False,
) -> None:
    """Make an INT8 engine for a kind of processor. Calibrate the new bundle afterwards."""
    with needs_extra(EXTRA):
        from vivavoce.bundle import Bundle
        from vivavoce_calibration.corpora import read_corpus

        from .convert import quantize_bundle

    trials = read_corpus(calibration, subset=subset)
    made = quantize_bundle(Bundle(bundle), out, trials, target, count=count, keep_float=keep_float)
    _describe(made.path, [engine.file for engine in made.manifest.engines])
    typer.echo(f"Next: vivavoce calibrate {out} CORPUS --subset dev --out NEW")


def _describe(folder: Path, files: list[str]) -> None:
    sizes = ", ".join(f"{file} ({(folder / file).stat().st_size / 1e6:.1f} MB)" for file in files)
    typer.echo(f"{folder}: {sizes}")

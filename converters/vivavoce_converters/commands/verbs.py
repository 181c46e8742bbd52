"""The builders' verbs of the command `vivavoce`. Heavy libraries are imported when a verb runs, not for its help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vivavoce.bundle import TARGETS
from vivavoce.errors import needs_extra
from vivavoce.terminal.console import BAD, GOOD, console, show, tell_error
from vivavoce.terminal.progress_bars import bars

if TYPE_CHECKING:
    from vivavoce_calibration.regression import Limits

    from ..steps.quantize import Gate

__all__ = ["build_engine_command", "convert_command", "distill_command", "quantize_command", "refit_command"]

EXTRA = "convert"

Only = Annotated[
    list[str] | None, typer.Option(help="Leave out clips told to be others, such as licence_class=open; repeatable.")
]


def distill_command(
    recipe: Annotated[str, typer.Argument(help="A recipe file (TOML), or the name of a built-in one such as: default.")],
    corpus: Annotated[Path, typer.Option(help="A corpus with the subsets train and dev.")],
    out: Annotated[Path, typer.Option(help="The run's folder; give the same one to go on after an interruption.")],
    teacher: Annotated[
        str | None, typer.Option(help="The encoder that is learnt from, a file, folder or hub id; by default the recipe's.")
    ] = None,
    speech: Annotated[
        list[Path] | None, typer.Option(help="A corpus of more speech, to learn the teacher's features from; repeatable.")
    ] = None,
    only: Only = None,
    device: Annotated[str | None, typer.Option(help="A torch device; by default cuda where there is one.")] = None,
) -> None:
    """Teach a small student what a teacher hears.

    It learns the teacher's features and a corpus' labels. Logs and plots go into OUT; give the same one to go on.
    """
    with needs_extra(EXTRA):
        from vivavoce_calibration.corpora import read_corpus

        from ..distillation.distill import distill, load_teacher
        from ..distillation.recipe import load_recipe

    chosen = load_recipe(recipe)
    encoder = load_teacher(chosen, teacher)
    train, dev = read_corpus(corpus, subset="train", only=only or ()), read_corpus(corpus, subset="dev")
    more = [trial for path in speech or () for trial in read_corpus(path, subset="train", extra=True)]
    with bars() as stages:
        student = distill(chosen, encoder, train, dev, out, speech=more, device=device, stages=stages)
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
    """Turn a checkpoint into a bundle.

    Its float32 ONNX engine scores as the checkpoint does, which is checked.
    """
    with needs_extra(EXTRA):
        from ..steps.convert import convert

    typer.echo(f"Reading {checkpoint}, exporting and comparing: some minutes.", err=True)
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
    target: Annotated[str, typer.Option(help=f"One of: {', '.join(TARGETS[1:])}.")],
    calibration: Annotated[Path, typer.Option(help="The corpus that activation ranges are taken from; never evaluation data.")],
    out: Annotated[Path, typer.Option(help="The bundle to make: a new directory.")],
    subset: Annotated[str | None, typer.Option(help="The corpus' subset: train, or all of two folders.")] = None,
    count: Annotated[int, typer.Option(min=8, help="How many windows to take ranges from.")] = 256,
    gate: Annotated[Path | None, typer.Option(help="The corpus to calibrate and compare on; that of the ranges.")] = None,
    gate_subset: Annotated[
        str | None, typer.Option(help="Its subset, never evaluation data: dev, or all of two folders.")
    ] = None,
    limits: Annotated[Path | None, typer.Option(help="Limits (TOML): by default pearson 0.998 and flips 0.015.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(help='Give two bytes to what suffers most, or leave it in float, until few decisions flip: "flips=0.5%".'),
    ] = None,
    weights_only: Annotated[
        bool,
        typer.Option("--weights-only", help="Round the weights alone: a float32 engine, to be fitted and quantized."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write the bundle even where a limit is broken.")] = False,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Neither calibrate nor compare.")] = False,
    keep_float: Annotated[bool, typer.Option("--keep-float", help="Keep the float32 engine in the bundle too.")] = False,
) -> int:
    """Make an INT8 engine from a bundle's float32 one.

    For a kind of processor; it is calibrated, and compared with float32.

    Exit code: 0 the bundle was written, 1 a limit is broken and it was not, 2 the command could not run.
    """
    with needs_extra(EXTRA):
        from vivavoce.bundle import open_bundle
        from vivavoce_calibration.commands.tables import calibration_tables, regression_tables
        from vivavoce_calibration.corpora import read_corpus
        from vivavoce_calibration.regression import load_limits

        from ..quantization.sensitivity import parse_budget
        from ..steps.quantize import LIMITS, GateError, quantize_bundle, quantize_weights
        from .tables import quantization_tables

    allowed, share = load_limits(limits) if limits else LIMITS, parse_budget(budget) if budget else None
    compared = None if no_gate else _gate(gate or calibration, gate_subset, allowed, force)
    opened, ranges = open_bundle(bundle), read_corpus(calibration, subset=subset or "train", or_all=subset is None)
    if weights_only:
        with bars() as stages:
            made = quantize_weights(opened, out, ranges, target, count=count, stages=stages)
        _describe(out, [engine.file for engine in made.manifest.engines])
        return GOOD
    try:
        with bars() as stages:
            made = quantize_bundle(
                opened, out, ranges, target, count=count, keep_float=keep_float, gate=compared, budget=share, stages=stages
            )
    except GateError as error:
        show(console(), *regression_tables(error.regression))
        tell_error(error)
        typer.echo("With --force it is written all the same.", err=True)
        return BAD
    show(console(), *quantization_tables(made.manifest))
    if found := made.manifest.regression:
        show(console(), *regression_tables(found), *calibration_tables(made.manifest))
    typer.echo(f"Next: vivavoce {f'evaluate {out} CORPUS' if found else f'calibrate {out} CORPUS --subset dev --out NEW'}")
    return GOOD


def _gate(corpus: Path, subset: str | None, limits: Limits, force: bool) -> Gate:
    """The trials to calibrate and compare on: by default the subset dev, or all of a corpus without subsets."""
    from vivavoce_calibration.corpora import read_corpus

    from ..steps.quantize import Gate

    trials = read_corpus(corpus, subset=subset or "dev", or_all=subset is None)
    gated = subset or ("dev" if any(trial.subset for trial in trials) else "all")
    return Gate(trials, corpus.resolve().name, gated, limits, force)


def refit_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a perceptron, such as the embedded one.")],
    corpus: Annotated[Path, typer.Option(help="Labelled speech with the subset train.")],
    out: Annotated[Path, typer.Option(help="The bundle to make: a new directory.")],
    recipe: Annotated[
        str, typer.Option(help="The recipe that the bundle's student was made by, a file or a name.")
    ] = "default",
    extra: Annotated[
        list[Path] | None, typer.Option("--also", help="A corpus of more; repeatable. The manifest names it.")
    ] = None,
    only: Only = None,
    name: Annotated[str | None, typer.Option(help="What to call the corpus; its folder's name by default.")] = None,
) -> None:
    """Fit a bundle's perceptron anew, to your recordings too.

    The rest of the network stays. A clip takes about 0.3 s of a core, the fit some minutes more. Calibrate the result on
    recordings of other systems and sources.
    """
    with needs_extra(EXTRA):
        from vivavoce.bundle import open_bundle
        from vivavoce_calibration.corpora import read_corpus

        from ..distillation.recipe import load_recipe
        from ..steps.refit import refit

    known = read_corpus(corpus, subset="train", or_all=True, only=only or ())
    more = [(path, read_corpus(path, subset="train", extra=True, or_all=True)) for path in extra or ()]
    corpora = [(name or corpus.resolve().name, known), *((path.resolve().name, trials) for path, trials in more)]
    names = [f"{called} train" if any(trial.subset for trial in trials) else called for called, trials in corpora]
    everything = [trial for _, trials in corpora for trial in trials]
    with bars() as stages:
        refit(open_bundle(bundle), everything, out, load_recipe(recipe), corpora=names, stages=stages)
    counts = ", ".join(f"{len(trials):,} of {called}" for called, (_, trials) in zip(names, corpora, strict=True))
    typer.echo(f"{out}: fitted to {counts}")
    typer.echo(f"Next: vivavoce calibrate {out} CORPUS --subset dev --out NEW")


def build_engine_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle with an ONNX engine: INT8 for TensorRT, or float32.")],
    out: Annotated[Path, typer.Option(help="The bundle to make: a new directory.")],
    target: Annotated[str, typer.Option(help="tensorrt, for the GPU of this machine.")] = "tensorrt",
    precision: Annotated[str | None, typer.Option(help="int8 or float32: the ONNX engine to build from.")] = None,
    rest: Annotated[Literal["float16", "float32"], typer.Option(help="Of what is not INT8.")] = "float16",
    batch: Annotated[int, typer.Option(min=1, help="The most windows to be scored at once.")] = 1,
    workspace: Annotated[int, typer.Option(min=1, help="GPU memory in MiB for an operation's intermediate results.")] = 2048,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Runs with later TensorRT versions too; holds code for the processor.")
    ] = False,
    hardware: Annotated[
        Literal["same", "ampere+"], typer.Option(help="GPUs of this one's compute capability, or Ampere and later.")
    ] = "same",
    timing_cache: Annotated[
        Path | None, typer.Option(help="Where TensorRT's measurements are kept; the user's cache folder by default.")
    ] = None,
) -> None:
    """Add a TensorRT engine for this machine's GPU.

    The bundle's ONNX engines stay, for every other machine.
    """
    with needs_extra(EXTRA):
        from vivavoce.bundle import open_bundle

        from ..steps.build_engine import BuildOptions, build_engine_bundle

    options = BuildOptions(batch, rest, workspace, version_compatible, hardware)
    with bars() as stages:
        made = build_engine_bundle(
            open_bundle(bundle), out, target, precision=precision, options=options, timing_cache=timing_cache, stages=stages
        )
    _describe(made.path, [engine.file for engine in made.manifest.engines])
    typer.echo(f"Next: vivavoce verify {out}")


def _describe(folder: Path, files: list[str]) -> None:
    sizes = ", ".join(f"{file} ({(folder / file).stat().st_size / 1e6:.1f} MB)" for file in files)
    typer.echo(f"{folder}: {sizes}")

"""Bundles: the directory that passes from the builders' side to the device. docs/bundle.md specifies the format.

A bundle is data. Opening one reads `manifest.json`, checks its form, and checks each file that is used against the sha256
in the manifest. Nothing in it is ever executed or unpickled.
"""

from __future__ import annotations

import json
import os
import re
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from .errors import BundleError, ConfigurationError, MissingExtra
from .files import sha256

__all__ = [
    "FORMAT",
    "MANIFEST",
    "TARGETS",
    "AudioContract",
    "Bundle",
    "Calibration",
    "Carry",
    "Difference",
    "EngineFile",
    "Evaluation",
    "Flips",
    "Manifest",
    "Model",
    "Monitoring",
    "OperatingPoint",
    "PerHour",
    "Rate",
    "Regression",
    "SelfTest",
    "bundle_path",
    "default_bundle",
    "installed_bundles",
    "open_bundle",
    "schema",
]

FORMAT = "vivavoce-bundle/1"
MANIFEST = "manifest.json"
TARGETS = ("any", "x86-vnni", "x86-avx2", "arm64", "tensorrt")
"""What an ONNX engine may be made for; a TensorRT engine is made for a GPU's compute capability, such as "sm8.7"."""
GPU = r"^sm\d+\.\d+$"
DEFAULT = "default"
"""The embedded bundle's name."""
GROUP = "vivavoce.bundles"
EXTRAS = ("large",)
"""Bundles of this project that are distributions of their own; the extra that installs one has its name."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# One path component: a bundle cannot point outside its own directory.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Model(_Strict):
    """What the network is and where it comes from."""

    front_end: str
    back_end: str
    parameters: int = Field(gt=0)
    checkpoint_sha256: Sha256
    licence: str
    corpora: tuple[str, ...] = ()
    provenance: dict[str, Any] = {}
    """Anything else that is needed to make it again, such as the training recipe."""


class AudioContract(_Strict):
    """How a recording becomes engine inputs. Lengths are in samples at `sample_rate`."""

    sample_rate: Literal[16_000] = 16_000
    window: int = Field(gt=0)
    """A shorter recording is tiled up to one window; a longer one is cut into windows, the last one aligned to its end."""
    hop: int = Field(gt=0)
    minimum_speech: float = Field(default=1.0, gt=0)
    """Seconds of speech below which a recording is undecided."""
    first_verdict: float = Field(default=2.0, gt=0)
    """Seconds of speech before a stream gives its first verdict on a speaker."""
    normalization: Literal["none", "layer"] = "none"
    """What the engine does to each window itself: "layer" subtracts its mean and divides by its standard deviation."""
    score: str = "logits[:, 0]"
    """Which output of the original network the engine's score is."""


class Carry(_Strict):
    """How an engine goes on from what it has computed, so that overlapping windows cost each chunk once.

    Its inputs "past_…" have the state of a beginning as their default; its outputs "present_…" are the state for the samples
    that follow. Lengths are in samples.
    """

    chunk: int = Field(gt=0)
    """What is computed at a time: samples come in multiples of it."""
    context: int = Field(ge=0)
    """How far before a window its score may depend on the signal: where an engine starts in the middle, it hears this first."""

    @model_validator(mode="after")
    def _whole_chunks(self) -> Carry:
        if self.context % self.chunk:
            raise ValueError(f"a context of {self.context} is not a multiple of the chunk, {self.chunk}")
        return self


def _engine_rules() -> list[JsonValue]:
    """What `EngineFile` checks of one field by another, in JSON Schema's words."""

    def where(conditions: dict[str, str], field: str, then: JsonValue, otherwise: JsonValue = True) -> JsonValue:
        properties: dict[str, JsonValue] = {name: {"const": value} for name, value in conditions.items()}
        met: dict[str, JsonValue] = {"properties": {field: then}, "required": [field]}
        return {"if": {"properties": properties}, "then": met, "else": {"properties": {field: otherwise}}}

    return [
        where({"kind": "onnx"}, "target", {"enum": list(TARGETS)}, {"pattern": GPU}),
        where({"kind": "onnx", "precision": "int8"}, "weight_bits", {"enum": [7, 8]}, {"type": "null"}),
    ]


class EngineFile(_Strict):
    """One executable form of the network: float32 samples (batch, window) in, float32 scores (batch,) out."""

    model_config = ConfigDict(json_schema_extra={"allOf": _engine_rules()})

    kind: Literal["onnx", "tensorrt"]
    precision: Literal["float32", "float16", "int8"]
    target: str
    """What it was made for: one of `TARGETS`, or "sm8.7" for a TensorRT engine and a GPU of compute capability 8.7."""
    weight_bits: Literal[7, 8] | None = None
    """Of an ONNX engine in INT8. Pairs of products with 8 bits saturate on x86 without VNNI unless a session avoids it."""
    file: FileName
    sha256: Sha256
    data: dict[FileName, Sha256] = {}
    """Further files, with the weights of a network too large for one file, under the names that `file` knows them by."""
    input: str = "samples"
    output: str = "score"
    carry: Carry | None = None
    """None: it scores whole windows only."""
    requires: dict[str, str] = {}
    """What a machine must have for it to load, such as {"tensorrt": "10.13", "compute_capability": "8.7"}."""

    @model_validator(mode="after")
    def _made_for_a_known_target(self) -> EngineFile:
        if self.kind == "onnx" and self.target not in TARGETS:
            raise ValueError(f'an ONNX engine is not made for "{self.target}"; choose one of: {", ".join(TARGETS)}')
        if self.kind == "tensorrt" and not re.match(GPU, self.target):
            raise ValueError(f'a TensorRT engine is not made for "{self.target}"; give a compute capability, such as sm8.7')
        return self

    @model_validator(mode="after")
    def _bits_of_int8(self) -> EngineFile:
        if (self.weight_bits is not None) != ((self.kind, self.precision) == ("onnx", "int8")):
            raise ValueError("weight_bits is 7 or 8 for an ONNX engine in int8, and left out for any other")
        return self

    def files(self) -> dict[str, str]:
        """Everything that it is made of, with the sha256 of each."""
        return {self.file: self.sha256, **self.data}


class Calibration(_Strict):
    """Affine map from the engine's score to a log-likelihood ratio: scale * score + offset."""

    scale: float = Field(gt=0)
    offset: float
    prior: float = Field(default=0.5, gt=0, lt=1)
    """P(bona fide), for `Result.probability`."""
    corpus: str
    bonafide: int = Field(gt=0)
    spoof: int = Field(gt=0)


class Rate(_Strict):
    """An error rate that was measured: `errors` among `trials`, with a confidence interval."""

    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    trials: int = Field(gt=0)


class OperatingPoint(_Strict):
    """A threshold on the log-likelihood ratio and the error rates that it had where it was chosen.

    `fpr` is the share of spoofs accepted, `fnr` the share of living speakers rejected; None where nothing was measured.
    """

    name: str
    threshold: float
    fpr: Rate | None = None
    fnr: Rate | None = None
    corpus: str | None = None


class PerHour(_Strict):
    """How often something happened: `count` times in `hours`, with a confidence interval."""

    value: float = Field(ge=0)
    low: float = Field(ge=0)
    high: float = Field(ge=0)
    count: int = Field(ge=0)
    hours: float = Field(gt=0)


class Monitoring(_Strict):
    """What listening with one setting brought where it was measured."""

    alarm_after: int = Field(gt=0)
    """Windows in a row below `threshold` that raise an alarm, and that, accepted, take it back."""
    hop: float = Field(gt=0)
    """Seconds from window to window."""
    threshold: float = Field(le=0)
    clears_at: float
    """The score from which a window was accepted."""
    false_alarms: PerHour
    """Of living people who talk without a pause."""
    caught: Rate
    """The spoofed voices that raised an alarm within a minute of speech."""
    delay: float | None = None
    """Seconds of audio until they did, the median; None where none did."""
    corpus: str


class Evaluation(_Strict):
    """One figure: a metric on a corpus, with trial counts and a confidence interval of level `level`."""

    metric: str
    value: float
    low: float
    high: float
    level: float = 0.95
    corpus: str
    subset: str
    bonafide: int = Field(ge=0)
    spoof: int = Field(ge=0)
    engine: str


class Difference(_Strict):
    """How far a metric of the candidate lies above that of the reference, on the same trials, with a paired interval."""

    metric: str
    reference: float
    value: float
    low: float
    high: float


class Flips(_Strict):
    """Decisions of the candidate that are not those of the reference, among the trials of one part of a corpus.

    Each of the last four counts the trials whose decision became this.
    """

    by: str
    """What the part is one by, such as "codec"; "all" for the whole corpus."""
    name: str
    share: Rate
    bonafide_rejected: int = Field(ge=0)
    bonafide_accepted: int = Field(ge=0)
    spoof_accepted: int = Field(ge=0)
    spoof_rejected: int = Field(ge=0)


class Regression(_Strict):
    """What became of the scores from one engine, the reference, to another, the candidate, over one corpus."""

    candidate: str
    candidate_sha256: Sha256
    """Of the engine's file, as that of the reference."""
    reference: str
    reference_sha256: Sha256
    corpus: str
    subset: str
    bonafide: int = Field(gt=0)
    spoof: int = Field(gt=0)
    level: float
    """Of every interval."""
    scores: Literal["calibrated", "reference", "uncalibrated"]
    """Each by its own calibration and threshold; both by those of the reference; neither, at the reference's EER threshold."""
    differences: tuple[Difference, ...]
    pearson: float = Field(ge=-1, le=1)
    spearman: float = Field(ge=-1, le=1)
    largest_difference: float = Field(ge=0)
    """Of two scores of one trial, in units of the scores compared."""
    furthest_trial: str
    """The trial with that difference."""
    flips: tuple[Flips, ...] = Field(min_length=1)
    """Of the whole corpus first."""
    limits: dict[str, float] = {}
    broken: tuple[str, ...] = ()
    """Which limits are broken, and by what; none: the candidate may stand in for the reference."""


class SelfTest(_Strict):
    """Windows for which every engine must give the expected scores: one row of `file`'s audio each, within `tolerance`."""

    file: FileName
    sha256: Sha256
    scores: tuple[float, ...] = Field(min_length=1)
    tolerance: float = Field(gt=0)


class Manifest(_Strict):
    """`manifest.json`, whole."""

    format: Literal["vivavoce-bundle/1"] = "vivavoce-bundle/1"
    name: str
    version: str
    description: str
    model: Model
    audio: AudioContract
    engines: tuple[EngineFile, ...] = Field(min_length=1)
    calibration: Calibration | None = None
    """None: nothing is known of what the score means, and it is passed on as it is."""
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    evaluations: tuple[Evaluation, ...] = ()
    monitoring: tuple[Monitoring, ...] = ()
    """Settings of a monitor to choose from, the fewest false alarms first."""
    regression: Regression | None = None
    """How an engine of the bundle compares with the full precision that it comes from."""
    self_test: SelfTest
    documents: dict[FileName, Sha256] = {}
    """Further files, for people, such as the model card."""

    @property
    def default_point(self) -> OperatingPoint:
        """The operating point that a detector decides by unless it is told another."""
        return next(point for point in self.operating_points if point.name == self.default_operating_point)

    @model_validator(mode="after")
    def _default_is_listed(self) -> Manifest:
        names = [point.name for point in self.operating_points]
        if len(set(names)) < len(names):
            raise ValueError("two operating points have the same name")
        if self.default_operating_point not in names:
            raise ValueError(f'the default operating point "{self.default_operating_point}" is not in the table')
        return self

    @model_validator(mode="after")
    def _window_is_chunks(self) -> Manifest:
        for engine in self.engines:
            if engine.carry and self.audio.window % engine.carry.chunk:
                raise ValueError(f"the window, {self.audio.window}, is not a multiple of a chunk, {engine.carry.chunk}")
        return self


def schema() -> str:
    """The manifest's form as a JSON Schema (2020-12), for other programs; docs/bundle.schema.json holds it."""
    known = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
    return json.dumps(known, indent=2) + "\n"


class Bundle:
    """An opened bundle: its manifest, and its files once their sha256 has been checked.

    Raises BundleError where the directory, its manifest or a file is missing, malformed or altered.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        """Its directory."""
        self.manifest, self.sha256 = _read_manifest(self.path)
        """What the manifest says, and the sha256 of its file, which covers all that it says and, by their own, all files."""

    def __repr__(self) -> str:
        return f"<Bundle {self.manifest.name} {self.manifest.version} at {self.path}>"

    def read(self, file: str, digest: str) -> bytes:
        """The content of one file, checked against `digest`; what is checked is what is used."""
        path = self.path / file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}. Install the bundle again.") from error
        if (found := sha256(content)) != digest:
            raise BundleError(
                f"{path} is not the file that the manifest names: its sha256 begins with {found[:12]}, not {digest[:12]}. "
                f"It was damaged or replaced; install the bundle again from its source."
            )
        return content

    def listed(self) -> dict[str, str]:
        """Every file that the manifest names, with its sha256."""
        manifest = self.manifest
        engines = {name: digest for engine in manifest.engines for name, digest in engine.files().items()}
        return {**engines, manifest.self_test.file: manifest.self_test.sha256, **manifest.documents}

    def operating_point(self, name: str) -> OperatingPoint:
        """The operating point of that name, whatever its case and spaces. Raises ConfigurationError, listing the names."""
        wanted = name.casefold().replace(" ", "")
        for point in self.manifest.operating_points:
            if point.name.casefold() == wanted:
                return point
        names = ", ".join(point.name for point in self.manifest.operating_points)
        raise ConfigurationError(
            f'The bundle "{self.manifest.name}" has no operating point "{name}". Choose {names}, or a number.'
        )


def default_bundle() -> Path:
    """The directory of the embedded bundle."""
    return Path(str(files("vivavoce") / "bundles" / DEFAULT))


def bundle_path(bundle: str | os.PathLike[str] | None) -> Path:
    """A bundle's directory: `bundle` itself, or where the bundle of that name lies, unless there is such a directory here.

    "default", and None, name the embedded bundle; other names are those of bundles that are installed as packages of their own.
    Raises ConfigurationError for what is no path, and MissingExtra for a bundle that an extra of this package installs.
    """
    if not isinstance(bundle, str | os.PathLike | None):
        raise ConfigurationError(f"{type(bundle).__name__} is no bundle. Give a bundle's directory.")
    path = Path(DEFAULT if bundle is None else bundle)
    if bundle is not None and path.is_dir():
        return path
    name = str(path)
    if name == DEFAULT:
        return default_bundle()
    installed = installed_bundles()
    if name in EXTRAS and name not in installed:
        raise MissingExtra(f'The bundle "{name}"', name)
    return installed.get(name, path)


def installed_bundles() -> dict[str, Path]:
    """The directories of the bundles that packages of their own bring, by name: entry points of the group "vivavoce.bundles".

    The packages are found, not imported: a bundle is data.
    """
    found = {}
    for point in entry_points(group=GROUP):
        package, *folders = point.value.split(".")
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            found[point.name] = Path(place, *folders)
    return found


def open_bundle(bundle: str | os.PathLike[str] | None) -> Bundle:
    """The bundle in a directory, or the embedded one. Raises as `bundle_path` and `Bundle` do."""
    return Bundle(bundle_path(bundle))


def _read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest, and the sha256 of its file."""
    if not path.is_dir():
        raise BundleError(f"{path} is not a directory. Give a bundle's directory: the one that holds {MANIFEST}.")
    try:
        content = (path / MANIFEST).read_bytes()
        raw = json.loads(content.decode())
    except OSError as error:
        raise BundleError(f"{path / MANIFEST} cannot be read: {error.strerror}. Give a bundle's directory.") from error
    except ValueError as error:
        raise BundleError(f"{path / MANIFEST} is not JSON: {error}. Install the bundle again.") from error
    if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
        raise BundleError(f"{path} has the format {raw['format']!r}; this version reads {FORMAT}. Upgrade vivavoce.")
    try:
        return Manifest.model_validate(raw), sha256(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the manifest"
        raise BundleError(
            f"{path / MANIFEST} does not follow {FORMAT}: {where}: {first['msg']} "
            f"({error.error_count()} in all). Pack the bundle again, or upgrade vivavoce."
        ) from error

"""Distillation: a teacher's hidden states and a corpus' labels teach a small student, in the stages of a recipe.

Layer-wise feature distillation follows DistilHuBERT (Chang et al., ICASSP 2022): the student's hidden states, through one
linear layer each, predict the teacher's on the same augmented audio. Batches are a function of seed and step, so a run that
was stopped goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.files import placing
from vivavoce_calibration.metrics import eer

from .batches import Batches, windows
from .checkpoints import OWN_WINDOW as WINDOW
from .countermeasure import Countermeasure, save_countermeasure
from .frontends import FrontEnd, Wav2Vec2FrontEnd, WhisperFrontEnd, wav2vec2_config
from .merging import Merge, MergeConfig
from .nes2net import Nes2Net, Nes2NetConfig
from .plots import plot_training
from .recipe import Recipe, Stage, StudentShape, TeacherShape

__all__ = ["build_student", "distill"]

LOG_EVERY = 20


def build_student(shape: StudentShape | TeacherShape, teacher: FrontEnd | None = None) -> Countermeasure:
    """A student in training mode: with random weights, or with the teacher's first layers where the shape says so.

    Raises ConfigurationError where the shape needs a teacher's layers and the teacher is not Whisper's encoder.
    """
    front_end = _front_end(shape, teacher)
    back_end = Nes2NetConfig(width=front_end.width, kind=shape.back_end, pooling=shape.pooling, nest=shape.nest)
    return Countermeasure(front_end, Nes2Net(back_end), _merge(shape, front_end)).train()


def _merge(shape: StudentShape | TeacherShape, front_end: FrontEnd) -> Merge | None:
    if isinstance(shape, StudentShape) or shape.merge == "last":
        return None
    return Merge(MergeConfig(shape.merge, front_end.depth + 1, width=front_end.width))


def _front_end(shape: StudentShape | TeacherShape, teacher: FrontEnd | None) -> Wav2Vec2FrontEnd | WhisperFrontEnd:
    if isinstance(shape, TeacherShape):
        if not isinstance(teacher, WhisperFrontEnd):
            raise ConfigurationError('A student of kind "teacher" takes layers of Whisper\'s encoder. Give one as the teacher.')
        return teacher.student(shape.layers, shape.conv_channels, shape.positions)
    config = wav2vec2_config(
        conv_channels=shape.conv_channels,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        ffn=shape.ffn,
        position_kernel=shape.position_kernel,
        position_groups=shape.position_groups,
        mel_branch=shape.mel_branch,
    )
    return Wav2Vec2FrontEnd.from_config(config)


class Lesson(nn.Module):
    """The student, the linear layers from its states to the teacher's, and the scale of the teacher's channels."""

    def __init__(self, recipe: Recipe, teacher: FrontEnd) -> None:
        super().__init__()
        self.student = build_student(recipe.student, teacher)
        width, teacher_width = self.student.front_end.width, teacher.width
        self.heads = nn.ModuleList(nn.Linear(width, teacher_width) for _ in recipe.teacher_layers)
        # Whisper's channels differ in scale by orders of magnitude; unscaled, a few of them would be the whole loss.
        self.scales = nn.ModuleList(nn.BatchNorm1d(teacher_width, affine=False) for _ in recipe.teacher_layers)

    def forward(self, samples: Tensor, targets: Sequence[Tensor], stage: Stage) -> tuple[Tensor, Tensor]:
        """The feature loss, 0 without targets, and the scores (batch,), 0 where the stage does not weigh them."""
        with torch.set_grad_enabled(stage.train == "all"):
            states = self.student.front_end.states(samples)
        loss = torch.zeros((), device=samples.device)
        if stage.feature_weight:
            loss = torch.stack([self._distance(*layer) for layer in enumerate(zip(states[1:], targets, strict=True))]).mean()
        if not stage.label_weight:
            return loss, torch.zeros(len(samples), device=samples.device)
        features = states[-1] if self.student.merge is None else self.student.merge(states)
        logits = self.student.back_end(features.transpose(1, 2))
        return loss, logits[:, -1].float()

    def _distance(self, layer: int, pair: tuple[Tensor, Tensor]) -> Tensor:
        state, target = pair
        frames = min(state.shape[1], target.shape[1])
        wanted = self.scales[layer](target[:, :frames].transpose(1, 2).float()).transpose(1, 2)
        given = self.heads[layer](state[:, :frames]).float()
        return F.l1_loss(given, wanted) + 1 - F.cosine_similarity(given, wanted, dim=-1).mean()


class Run:
    """One distillation in a folder: its state, its log, and the student that did best on dev."""

    def __init__(self, recipe: Recipe, teacher: FrontEnd, folder: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.device = recipe, folder, device
        self.teacher = cast(nn.Module, teacher).to(device).eval().requires_grad_(False)
        self.lesson = Lesson(recipe, teacher).to(device)
        average = get_ema_multi_avg_fn(recipe.average_decay)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.lesson.student, multi_avg_fn=average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(self.lesson.parameters(), weight_decay=recipe.weight_decay)
        self.step, self.best = 0, math.inf
        folder.mkdir(parents=True, exist_ok=True)
        self._begin()

    @property
    def student_path(self) -> Path:
        """The student so far best on dev."""
        return self.folder / "student.safetensors"

    def train_step(self, samples: Tensor, labels: Tensor) -> dict[str, Any]:
        """One step; the losses, for the log."""
        stage, within = self.recipe.stage_at(self.step)
        rate = stage.learning_rate * _schedule(within / stage.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16):
            feature_loss, scores = self.lesson(samples, self._targets(samples) if stage.feature_weight else [], stage)
        smooth = labels * (1 - 2 * self.recipe.label_smoothing) + self.recipe.label_smoothing
        label_loss = F.binary_cross_entropy_with_logits(scores, smooth)
        loss = stage.feature_weight * feature_loss + stage.label_weight * label_loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.lesson.parameters(), 2.0)
        self.optimizer.step()
        self.averaged.update_parameters(self.lesson.student)
        self.step += 1
        losses = {"feature_loss": feature_loss.item(), "label_loss": label_loss.item()}
        return {"step": self.step, "stage": stage.name, "learning_rate": rate, **losses}

    def evaluate(self, dev: Sequence[Trial]) -> float:
        """EER of the averaged student on the first 4 s of each dev trial; the student is saved when it is the best yet."""
        student = cast(Countermeasure, self.averaged.module).eval()
        with torch.no_grad():
            scores = torch.cat([student(batch.to(self.device)).cpu() for batch in windows(dev, WINDOW, self.recipe.batch)])
        bonafide = torch.tensor([trial.key == "bonafide" for trial in dev])
        error = float(eer(scores[bonafide].double().numpy(), scores[~bonafide].double().numpy()))
        if error <= self.best:
            self.best = error
            provenance = {"recipe": self.recipe.model_dump(mode="json"), "step": self.step, "dev_eer": error}
            save_countermeasure(student, self.student_path, provenance=provenance)
        self.log({"step": self.step, "dev_eer": error})
        return error

    def log(self, record: dict[str, Any]) -> None:
        """Appends one JSON line."""
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def save(self) -> None:
        """Writes everything that is needed to go on."""
        state = {
            "recipe": self.recipe.model_dump_json(),
            "step": self.step,
            "best": self.best,
            "lesson": self.lesson.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with placing(self.folder / "state.pt") as partial:
            torch.save(state, partial)

    def _begin(self) -> None:
        path = self.folder / "state.pt"
        if not path.is_file():
            (self.folder / "recipe.json").write_text(self.recipe.model_dump_json(indent=2), encoding="utf-8")
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe.model_dump_json():
            raise ConfigurationError(
                f"{self.folder} holds a run of another recipe. Choose another folder, or the recipe in its recipe.json."
            )
        self.step, self.best = state["step"], state["best"]
        self.lesson.load_state_dict(state["lesson"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _targets(self, samples: Tensor) -> list[Tensor]:
        with torch.no_grad():
            states = cast(FrontEnd, self.teacher).states(samples)
        return [states[layer] for layer in self.recipe.teacher_layers]


def distill(
    recipe: Recipe,
    teacher: FrontEnd,
    train: Sequence[Trial],
    dev: Sequence[Trial],
    folder: Path,
    *,
    device: str | None = None,
    workers: int = 1,
) -> Path:
    """Teaches a student and gives the path of the one that did best on dev (safetensors).

    `folder` receives `student.safetensors`, `state.pt` (to go on after an interruption: call again with the same arguments),
    `log.jsonl`, `recipe.json` and `training.png`. Uses CUDA where there is one unless `device` says otherwise. Raises
    ConfigurationError where the folder holds a run of another recipe.
    """
    run = Run(recipe, teacher, folder, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    batches = DataLoader(Batches(train, recipe, start=run.step), batch_size=None, num_workers=workers)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(recipe.name, total=recipe.steps, completed=run.step)
        for samples, labels in batches:
            losses = run.train_step(samples.to(run.device), labels.to(run.device))
            described = f"{losses['stage']} feature {losses['feature_loss']:.3f} label {losses['label_loss']:.3f}"
            progress.update(task, advance=1, description=f"{described} dev EER {run.best:.1%}")
            if run.step % LOG_EVERY == 0:
                run.log(losses)
            if run.step % recipe.evaluate_every == 0 or run.step == recipe.steps:
                run.evaluate(dev)
                run.save()
                plot_training(folder / "log.jsonl", folder / "training.png")
    return run.student_path


def _schedule(progress: float, warmup: float = 0.05) -> float:
    """Linear warm-up, then a cosine to zero."""
    if progress < warmup:
        return (progress + 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

"""Distillation: a teacher's hidden states and a corpus' labels teach a small student, in the stages of a recipe.

Layer-wise feature distillation follows DistilHuBERT (Chang et al., ICASSP 2022): the student's hidden states, through one
linear layer each, predict the teacher's on the same augmented audio. Batches are a function of seed and step, so a run that
was stopped goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from vivavoce.errors import ConfigurationError
from vivavoce.files import placing
from vivavoce.progress import Stages, quietly
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.metrics import eer

from ..checkpoints.load import STUDENT_WINDOW as WINDOW
from ..checkpoints.pretrained import load_front_end
from ..networks.aasist import Aasist, AasistConfig
from ..networks.countermeasure import AnyFrontEnd, BackEnd, Countermeasure, save_countermeasure
from ..networks.front_ends import FrontEnd, Wav2Vec2FrontEnd, WhisperFrontEnd, wav2vec2_config
from ..networks.layer_merging import Merge, MergeConfig
from ..networks.nes2net import Nes2Net, Nes2NetConfig
from ..networks.perceptron import Perceptron, PerceptronConfig
from ..networks.streaming import DELAY, StreamingConfig, StreamingFrontEnd
from .batches import Batches, windows
from .recipe import Recipe, Stage, StreamingShape, StudentShape, TeacherShape
from .training_plot import plot_training

__all__ = ["build_student", "distill", "load_teacher"]

LOG_EVERY = 20
Shape = StudentShape | TeacherShape | StreamingShape
Encoder = Callable[[Tensor], list[Tensor]]


def load_teacher(recipe: Recipe, source: str | Path | None = None) -> FrontEnd:
    """The layers of the recipe's teacher, or of another (`load_front_end`), that the student learns from.

    Raises ConfigurationError as `load_front_end` does, and where nobody names a teacher.
    """
    if (chosen := source or recipe.teacher) is None:
        raise ConfigurationError(f'The recipe "{recipe.name}" names no teacher. Give one, or write it into the recipe.')
    return load_front_end(chosen, layers=max(recipe.teacher_layers))


def build_student(shape: Shape, teacher: FrontEnd | None = None) -> Countermeasure:
    """A student in training mode: with random weights, or with the teacher's first layers where the shape says so.

    Raises ConfigurationError where the shape asks for what the teacher's encoder has not.
    """
    front_end = _front_end(shape, teacher)
    return Countermeasure(front_end, _back_end(shape, front_end), _merge(shape, front_end)).train()


def _back_end(shape: Shape, front_end: FrontEnd) -> BackEnd:
    if shape.back_end == "perceptron":
        return Perceptron(PerceptronConfig((front_end.depth + 1) * front_end.width))
    if shape.back_end == "aasist":
        return Aasist(AasistConfig(front_end.width, logits=1))
    return Nes2Net(Nes2NetConfig(front_end.width, shape.back_end, pooling=shape.pooling, nest=shape.nest))


def _merge(shape: Shape, front_end: FrontEnd) -> Merge | None:
    if isinstance(shape, StudentShape):
        return None
    if shape.back_end == "perceptron":
        return Merge(MergeConfig("side-by-side", front_end.depth + 1))
    if isinstance(shape, TeacherShape) and shape.merge == "last":
        return None
    return Merge(MergeConfig("scaled-sum", front_end.depth + 1, width=front_end.width))


def _front_end(shape: Shape, teacher: FrontEnd | None) -> AnyFrontEnd:
    if isinstance(shape, TeacherShape) and isinstance(teacher, Wav2Vec2FrontEnd):
        if shape.conv_channels or shape.loudest_bin is not None:
            raise ConfigurationError(
                "Only Whisper takes conv_channels and loudest_bin. Leave them out, or give it as the teacher."
            )
        return teacher.student(shape.layers)
    if not isinstance(shape, StudentShape) and not isinstance(teacher, WhisperFrontEnd):
        raise ConfigurationError(
            f'A student of kind "{shape.kind}" takes layers of Whisper\'s encoder. Give one as the teacher.'
        )
    if isinstance(shape, TeacherShape):
        return cast(WhisperFrontEnd, teacher).student(shape.layers, shape.conv_channels, shape.positions, shape.loudest_bin)
    if isinstance(shape, StreamingShape):
        streaming = StreamingConfig(
            width=cast(WhisperFrontEnd, teacher).width,
            heads=cast(WhisperFrontEnd, teacher).encoder.config.encoder_attention_heads,
            mels=cast(WhisperFrontEnd, teacher).encoder.config.num_mel_bins,
            layers=shape.layers,
            ffn=shape.ffn,
            chunk=shape.chunk,
            chunks_back=shape.chunks_back,
        )
        return StreamingFrontEnd.like(cast(WhisperFrontEnd, teacher), streaming)
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
        # A student of the teacher's own layers has its states in the teacher's coordinates already.
        own = isinstance(recipe.student, StreamingShape)
        self.heads = nn.ModuleList(nn.Identity() if own else nn.Linear(width, teacher_width) for _ in recipe.teacher_layers)
        # Whisper's channels differ in scale by orders of magnitude; unscaled, a few of them would be the whole loss.
        self.scales = nn.ModuleList(nn.BatchNorm1d(teacher_width, affine=False) for _ in recipe.teacher_layers)

    def forward(self, samples: Tensor, targets: Sequence[Tensor], stage: Stage) -> tuple[Tensor, Tensor]:
        """The feature loss, 0 without targets, and the scores (batch,), 0 where the stage does not weigh them."""
        with torch.set_grad_enabled(stage.train == "all"):
            states = self.student.front_end.states(samples)
        loss = torch.zeros((), device=samples.device)
        if stage.feature_weight:
            loss = torch.stack([self._distance(*layer) for layer in enumerate(zip(states[1:], targets, strict=True))]).mean()
        if not stage.scores:
            return loss, torch.zeros(len(samples), device=samples.device)
        logits = self.student.judge(self.student.read(states))
        return loss, logits[:, -1].float()

    def _distance(self, layer: int, pair: tuple[Tensor, Tensor]) -> Tensor:
        state, target = pair
        frames = min(state.shape[1], target.shape[1])
        scale = cast(nn.BatchNorm1d, self.scales[layer])
        wanted = scale(target[:, :frames].transpose(1, 2).float()).transpose(1, 2)
        given = self.heads[layer](state[:, :frames]).float()
        if isinstance(self.student.front_end, StreamingFrontEnd):
            given = F.batch_norm(given.transpose(1, 2), scale.running_mean, scale.running_var).transpose(1, 2)
        return F.l1_loss(given, wanted) + 1 - F.cosine_similarity(given, wanted, dim=-1).mean()


class Run:
    """One distillation in a folder: its state, its log, and the student that did best on dev."""

    def __init__(self, recipe: Recipe, teacher: FrontEnd, folder: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.device = recipe, folder, device
        self.teacher = cast(nn.Module, teacher).to(device).eval().requires_grad_(False)
        self.lesson = Lesson(recipe, teacher).to(device)
        states = (max(recipe.teacher_layers) + 1) * teacher.width
        self.detector = Perceptron(PerceptronConfig(states)).to(device).requires_grad_(False)
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
        with self._half():
            targets, wanted = self._taught(samples, stage)
            feature_loss, scores = self.lesson(samples, targets, stage)
        smooth = labels * (1 - 2 * self.recipe.label_smoothing) + self.recipe.label_smoothing
        label_loss = F.binary_cross_entropy_with_logits(scores, smooth)
        score_loss = F.smooth_l1_loss(scores, wanted)
        loss = stage.feature_weight * feature_loss + stage.label_weight * label_loss + stage.score_weight * score_loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.lesson.parameters(), 2.0)
        self.optimizer.step()
        self.averaged.update_parameters(self.lesson.student)
        self.step += 1
        losses = {"feature_loss": feature_loss.item(), "label_loss": label_loss.item(), "score_loss": score_loss.item()}
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
            "detector": self.detector.state_dict(),
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
        if Recipe.model_validate_json(state["recipe"]) != self.recipe:
            raise ConfigurationError(
                f"{self.folder} holds a run of another recipe. Choose another folder, or the recipe in its recipe.json."
            )
        self.step, self.best = state["step"], state["best"]
        self.lesson.load_state_dict(state["lesson"])
        self.detector.load_state_dict(state["detector"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])

    def begin_stage(self, train: Sequence[Trial], stages: Stages = quietly) -> None:
        """What a stage does before its first step: it fits the perceptrons that it needs."""
        stage, within = self.recipe.stage_at(self.step)
        if within or not stage.fit:
            return
        batches = Batches(train, self.recipe)
        if stage.score_weight:
            self.detector.load_state_dict(self._fit([self._teacher_states], batches, stage, "the teacher's states", stages))
        average = cast(Countermeasure, self.averaged.module).eval()
        encoders = [average.front_end.states]
        if isinstance(average.front_end, StreamingFrontEnd):
            encoders.append(average.front_end.repeated)
        fitted = self._fit(encoders, batches, stage, "states", stages)
        for student in (self.lesson.student, average):
            student.back_end.load_state_dict(fitted)

    def _fit(self, encoders: Sequence[Encoder], batches: Batches, stage: Stage, what: str, stages: Stages) -> dict[str, Tensor]:
        """The perceptron of the encoders' states, batch by batch in turn, for copies of the labelled clips."""
        pooled, total = [], -(-stage.fit * len(batches.trials) // self.recipe.batch)
        copies, advance = batches.copies(stage.fit, stage.transmitted), stages(f"{stage.name}: {what}")
        with torch.no_grad(), self._half():
            for number, samples in enumerate(copies):
                states = encoders[number % len(encoders)](samples.to(self.device))
                pooled.append(torch.cat([state.float().mean(dim=1) for state in states], dim=1).double().cpu().numpy())
                advance(number + 1, total)
        return batches.fitted(stage, np.concatenate(pooled), advance=stages(f"{stage.name}: fit to {what}")).state_dict()

    def _half(self) -> torch.autocast:
        """Mixed precision where the device computes it: a processor without it took ten times as long as in float32."""
        native = any(there and name.endswith("bf16") for name, there in torch.cpu.get_capabilities().items())
        return torch.autocast(self.device.type, torch.bfloat16, enabled=native or self.device.type != "cpu")

    def _taught(self, samples: Tensor, stage: Stage) -> tuple[list[Tensor], Tensor]:
        """The teacher's states and scores, where the stage weighs them."""
        nothing = torch.zeros(len(samples), device=samples.device)
        if not (stage.feature_weight or stage.score_weight):
            return [], nothing
        states = self._teacher_states(samples)
        read = torch.cat(states, dim=2).transpose(1, 2)
        scores = self.detector(read)[:, 0].float() if stage.score_weight else nothing
        return [states[layer] for layer in self.recipe.teacher_layers], scores

    def _teacher_states(self, samples: Tensor) -> list[Tensor]:
        if isinstance(self.lesson.student.front_end, StreamingFrontEnd):
            samples = F.pad(samples, (DELAY, 0))[:, : samples.shape[1]]
        with torch.no_grad():
            return cast(FrontEnd, self.teacher).states(samples)


def distill(
    recipe: Recipe,
    teacher: FrontEnd,
    train: Sequence[Trial],
    dev: Sequence[Trial],
    folder: Path,
    *,
    speech: Sequence[Trial] = (),
    device: str | None = None,
    workers: int = 1,
    stages: Stages = quietly,
) -> Path:
    """Teaches a student and gives the path of the one that did best on dev (safetensors).

    `speech` is more to learn the teacher's features and scores from: no perceptron is fitted on it, and its labels count in
    stages that weigh labels only. `folder` receives `student.safetensors`, `state.pt` (to go on after an interruption: call
    again with the same arguments), `log.jsonl`, `recipe.json` and `training.png`. Uses CUDA where there is one unless `device`
    says otherwise. Raises ConfigurationError where the folder holds a run of another recipe.
    """
    run = Run(recipe, teacher, folder, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    batches = DataLoader(Batches([*train, *speech], recipe, start=run.step), batch_size=None, num_workers=workers)
    advance = stages(recipe.name)
    for samples, labels in batches:
        run.begin_stage(train, stages)
        losses = run.train_step(samples.to(run.device), labels.to(run.device))
        due = run.step % recipe.evaluate_every == 0 or run.step == recipe.steps
        if run.step % LOG_EVERY == 0 or due:
            run.log(losses)
        if due:
            if run.recipe.stage_at(run.step - 1)[0].scores or run.step == recipe.steps:
                run.evaluate(dev)
            run.save()
            plot_training(folder / "log.jsonl", folder / "training.png")
        advance(run.step, recipe.steps)
    return run.student_path


def _schedule(progress: float, warmup: float = 0.05) -> float:
    """Linear warm-up, then a cosine to zero."""
    if progress < warmup:
        return (progress + 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

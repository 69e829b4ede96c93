"""Training one network by one recipe: seeded, resumable, with averaged weights and a record of what happened.

The embedded family was trained with it, and `finetune` trains members with it.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tstitch_search.errors import EnvironmentProblem

SEED = 2402_14167
# Iterations between two reports of the loss.
REPORT_EVERY = 100


@dataclass(frozen=True)
class Recipe:
    """How long and how fast one network learns. The rate is constant, then falls to zero over the last quarter."""

    n_steps: int
    batch_size: int
    learning_rate: float
    ema: float = 0.999
    weight_decay: float = 0.01


# Losses take the network as Any: each calls its own methods (encode, decode, forward with labels).
Loss = Callable[[Any, torch.Tensor, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Course:
    """How a training is seen: `on_report(trainer)` every `report_every` steps; a checkpoint every `save_every`."""

    on_report: Callable[["Trainer"], None]
    report_every: int = REPORT_EVERY
    save_every: int = 500


def print_course(trainer: "Trainer") -> None:
    """One line on stdout: how far the training is, its loss, the seconds left."""
    at = f"step {trainer.step}/{trainer.recipe.n_steps} loss {trainer.losses[-1]}"
    print(f"{trainer.name}: {at} left {trainer.seconds_left:.0f} s", flush=True)


class Trainer:
    """One network, one recipe, one loss of (network, image indices, generator); resumable to the bit per step.

    Batch i is drawn from a generator seeded by `seed_of(i)` alone, so that a resumed run sees the same batches.
    """

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        net: nn.Module,
        loss: Loss,
        n_images: int,
        work: Path,
        device: str,
        seed_of: Callable[[int], int] = SEED.__add__,
        course: Course = Course(print_course),
    ):
        self.name, self.loss, self.n_images, self.device = name, loss, n_images, device
        self.recipe, self.seed_of, self.course = recipe, seed_of, course
        self.checkpoint = work / f"{name}.pt"
        self.net = net.to(device)
        self.ema = {key: value.detach().clone() for key, value in net.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.step, self.seconds = 0, 0.0
        self.losses: list[float] = []
        self._unreported: list[torch.Tensor] = []
        if self.checkpoint.exists():
            self._restore()

    def run(self, until: int | None = None) -> None:
        """Train up to step `until` (default: the whole recipe) and keep a checkpoint."""
        started, start_seconds = time.perf_counter(), self.seconds
        until = until or self.recipe.n_steps
        while self.step < until:
            self._unreported.append(self._one_step())
            self.step += 1
            self.seconds = start_seconds + time.perf_counter() - started
            if self.step % self.course.report_every == 0:
                self.losses.append(round(float(torch.stack(self._unreported).mean()), 5))
                self._unreported = []
                self.course.on_report(self)
            if self.step % self.course.save_every == 0 or self.step == until:
                self._save()

    @property
    def seconds_left(self) -> float:
        """How long the rest of the recipe will take, at the pace so far."""
        return (self.recipe.n_steps - self.step) * self.seconds / self.step

    def averaged(self) -> Any:
        """The network with the exponential moving average of its weights, which is what ships."""
        self.net.load_state_dict(self.ema)
        return self.net.eval()

    def _one_step(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed_of(self.step))
        indices = torch.randint(self.n_images, (self.recipe.batch_size,), generator=generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        loss = self.loss(self.net, indices, generator)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._average()
        return loss.detach()

    def _learning_rate(self) -> float:
        warm_up = min(1.0, (self.step + 1) / 200)
        cool_down = min(1.0, (self.recipe.n_steps - self.step) / (0.25 * self.recipe.n_steps))
        return self.recipe.learning_rate * warm_up * cool_down

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for key, value in self.net.state_dict().items():
            if value.is_floating_point():
                self.ema[key].lerp_(value, 1 - decay)
            else:
                self.ema[key].copy_(value)

    def _save(self) -> None:
        state = {
            "net": self.net.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "progress": {
                "step": self.step,
                "seconds": self.seconds,
                "losses": self.losses,
                "unreported": self._unreported,
            },
        }
        partial = self.checkpoint.with_suffix(".partial")
        try:
            torch.save(state, partial)
            partial.replace(self.checkpoint)
        except (OSError, RuntimeError) as error:  # torch.save raises either when the disk is full
            partial.unlink(missing_ok=True)
            raise EnvironmentProblem(
                f"cannot write {self.checkpoint}: {error}", hint="make room, then run again"
            ) from error

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = state["ema"]
        progress = state["progress"]
        self.step, self.seconds, self.losses = progress["step"], progress["seconds"], progress["losses"]
        self._unreported = progress.get("unreported", [])  # the zoo's own checkpoints are older

    def record(self) -> dict[str, object]:
        """What the model card says of this training."""
        n_parameters = sum(p.numel() for p in self.net.parameters())
        return {
            **asdict(self.recipe),
            "n_parameters": n_parameters,
            "seconds": round(self.seconds),
            "device": self.device,
            "torch": torch.__version__,
            f"losses_every_{self.course.report_every}": self.losses,
        }

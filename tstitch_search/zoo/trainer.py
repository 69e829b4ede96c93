"""Training one network by one recipe: seeded, resumable, with averaged weights and a record of what happened."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

SEED = 2402_14167


@dataclass(frozen=True)
class Recipe:
    """How long and how fast one network learns. The rate is constant, then falls to zero over the last quarter."""

    n_steps: int
    batch_size: int
    learning_rate: float
    ema: float = 0.999


# Losses take the network as Any: each calls its own methods (encode, decode, forward with labels).
Loss = Callable[[Any, torch.Tensor, torch.Generator], torch.Tensor]


class Trainer:
    """One network, one recipe, one loss of (network, image indices, generator); resumable to the bit per step.

    Batch i is drawn from a generator seeded by (SEED, i) alone, so that a resumed run sees the same batches.
    """

    def __init__(self, name: str, recipe: Recipe, net: nn.Module, loss: Loss, n_images: int, work: Path, device: str):
        self.name, self.loss, self.n_images, self.device = name, loss, n_images, device
        self.recipe = recipe
        self.checkpoint = work / f"{name}.pt"
        self.net = net.to(device)
        self.ema = {key: value.detach().clone() for key, value in net.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            net.parameters(), lr=self.recipe.learning_rate, weight_decay=0.01, fused=True
        )
        self.step, self.seconds = 0, 0.0
        self.losses: list[float] = []
        if self.checkpoint.exists():
            self._restore()

    def run(self, until: int | None = None) -> None:
        """Train up to step `until` (default: the whole recipe) and keep a checkpoint."""
        started, start_seconds, recent = time.perf_counter(), self.seconds, []
        until = until or self.recipe.n_steps
        while self.step < until:
            recent.append(self._one_step())
            self.step += 1
            self.seconds = start_seconds + time.perf_counter() - started
            if self.step % 100 == 0:
                self.losses.append(round(float(torch.stack(recent).mean()), 5))
                recent = []
                left = (self.recipe.n_steps - self.step) * self.seconds / self.step
                print(
                    f"{self.name}: step {self.step}/{self.recipe.n_steps} loss {self.losses[-1]} left {left:.0f} s",
                    flush=True,
                )
            if self.step % 500 == 0 or self.step == until:
                self._save()

    def averaged(self) -> Any:
        """The network with the exponential moving average of its weights, which is what ships."""
        self.net.load_state_dict(self.ema)
        return self.net.eval()

    def _one_step(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(SEED + self.step)
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
            "progress": {"step": self.step, "seconds": self.seconds, "losses": self.losses},
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = state["ema"]
        progress = state["progress"]
        self.step, self.seconds, self.losses = progress["step"], progress["seconds"], progress["losses"]

    def record(self) -> dict[str, object]:
        """What the model card says of this training."""
        n_parameters = sum(p.numel() for p in self.net.parameters())
        return {
            **asdict(self.recipe),
            "n_parameters": n_parameters,
            "seconds": round(self.seconds),
            "device": self.device,
            "torch": torch.__version__,
            "losses_every_100": self.losses,
        }

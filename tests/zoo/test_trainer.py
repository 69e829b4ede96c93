"""Training resumes to the bit: a process that died costs what came after its last checkpoint, never the result."""

from pathlib import Path

import torch
from torch import nn

from tstitch_search.zoo.trainer import Recipe, Trainer

RECIPE = Recipe(n_steps=12, batch_size=4, learning_rate=1e-2)
INPUTS = torch.linspace(-1, 1, 40).reshape(20, 2)


def distance(net: nn.Module, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(len(indices), 2, generator=generator)
    return (net(INPUTS[indices] + 0.1 * noise) - INPUTS[indices].sum(1, keepdim=True)).pow(2).mean()


def trainer(work: Path) -> Trainer:
    torch.manual_seed(0)
    work.mkdir(exist_ok=True)
    return Trainer("small", RECIPE, nn.Linear(2, 1), distance, len(INPUTS), work, "cpu")


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path):
    straight = trainer(tmp_path / "straight")
    straight.run()
    trainer(tmp_path / "resumed").run(until=5)
    resumed = trainer(tmp_path / "resumed")
    assert resumed.step == 5
    resumed.run()
    for a, b in zip(straight.averaged().parameters(), resumed.averaged().parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_lowers_the_loss_and_records_what_it_did(tmp_path: Path):
    before = trainer(tmp_path / "a")
    everything = torch.arange(len(INPUTS))
    start = distance(before.net, everything, torch.Generator().manual_seed(1)).item()
    before.run()
    assert distance(before.net, everything, torch.Generator().manual_seed(1)).item() < start
    assert before.record()["n_steps"] == 12
    assert before.record()["n_parameters"] == 3

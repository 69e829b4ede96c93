"""Single-file checkpoints: read without torch, safely, and as models that answer as the originals do."""

import argparse
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoModel, DiTTransformer2DModel
from members.checkpoint_files import dit_answer, dit_weights, sines, uvit_answer, uvit_weights

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.formats.checkpoint_models import load_checkpoint
from tstitch_search.members.formats.checkpoints import n_heads, read_checkpoint, read_shapes
from tstitch_search.members.formats.uvit import UViT2DModel

# x, timesteps (fractions and both ends included) and labels (10 says "no label")
QUESTION = torch.Generator().manual_seed(3)
X = torch.randn(4, 4, 8, 8, generator=QUESTION)
T = torch.tensor([0.0, 37.5, 500.0, 999.0])
Y = torch.tensor([3, 0, 9, 10])


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def trained(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A checkpoint as DiT's training writes it: the averaged weights are the ones to sample from."""
    other = {key: torch.zeros_like(value) for key, value in weights.items()}
    parameters = OrderedDict((key, torch.nn.Parameter(value)) for key, value in other.items())
    optimizer = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4}]}
    return {"model": parameters, "ema": weights, "opt": optimizer, "args": argparse.Namespace(model="DiT-S/2")}


@pytest.mark.parametrize("width", [64, 192])
def test_a_converted_dit_answers_as_the_original_architecture(tmp_path: Path, width: int) -> None:
    """Largest difference 1e-5 on outputs of the size of 3 (float32, other order of sums)."""
    weights = dit_weights(width, layers=3)
    model = load_checkpoint(saved(tmp_path / "dit.pt", weights), "dit")
    with torch.no_grad():
        answer = model(X, timestep=T, class_labels=Y).sample
    expected = dit_answer(weights, X, T, Y, heads=n_heads(width))
    assert answer.shape == (4, 8, 8, 8)
    assert expected.std() > 0.3
    assert (answer - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize("width", [64, 192])
def test_a_uvit_answers_as_the_original_architecture(tmp_path: Path, width: int) -> None:
    weights = uvit_weights(width)
    model = load_checkpoint(saved(tmp_path / "uvit.pth", weights), "uvit")
    with torch.no_grad():
        answer = model(X, timestep=T, class_labels=Y).sample
    expected = uvit_answer(weights, X, T, Y, heads=n_heads(width))
    assert expected.std() > 0.3
    assert (answer - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


def test_diffusers_position_embeddings_are_the_originals() -> None:
    """Of the sizes published, DiT-S/2 at 256 pixels."""
    model = DiTTransformer2DModel(6, 64, num_layers=0, sample_size=32, patch_size=2)
    torch.testing.assert_close(model.pos_embed.pos_embed, sines(384, 16), rtol=0, atol=2e-6)


def test_diffusers_own_time_embedding_is_not_the_originals(tmp_path: Path) -> None:
    """Why a stock DiTPipeline answers differently from the released code: frequencies 1/(n - 1) apart, not 1/n."""
    weights = dit_weights()
    model = load_checkpoint(saved(tmp_path / "dit.pt", weights), "dit")
    stock = DiTTransformer2DModel.from_config(model.config).eval()
    stock.load_state_dict(model.state_dict())
    expected, answer = dit_answer(weights, X, T, Y), stock(X, timestep=T, class_labels=Y).sample.detach()
    difference = (answer - expected).square().mean((1, 2, 3)).sqrt() / expected.std()
    assert difference[0] < 1e-5  # at timestep 0 all angles are 0
    assert (difference[1:] > 0.005).all(), difference


@pytest.mark.parametrize("form", ["dit", "uvit"])
def test_the_file_is_described_without_being_loaded(tmp_path: Path, form: Any) -> None:
    weights = dit_weights() if form == "dit" else uvit_weights()
    file = saved(tmp_path / "weights.pt", weights)
    found, model = read_checkpoint(file, form), load_checkpoint(file, form)
    assert found.class_name == type(model).__name__
    assert {key: model.config[key] for key in found.config} == dict(found.config)
    fixed = weights["pos_embed"].numel() if form == "dit" else 0  # DiT counts its sines and cosines too
    assert found.n_parameters == sum(p.numel() for p in model.parameters()) + fixed
    assert dict(read_shapes(file)) == {key: tuple(value.shape) for key, value in weights.items()}


def test_of_a_training_checkpoint_the_averaged_weights_are_taken(tmp_path: Path) -> None:
    weights = dit_weights()
    file = saved(tmp_path / "trained.pt", trained(weights))
    assert read_checkpoint(file, "dit") == read_checkpoint(saved(tmp_path / "bare.pt", weights), "dit")
    answer = load_checkpoint(file, "dit")(X, timestep=T, class_labels=Y).sample
    assert (answer - dit_answer(weights, X, T, Y)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("width", "layers", "millions"), [(384, 12, 33.0), (768, 12, 130.5), (1152, 28, 675.1)], ids=["S", "B", "XL"]
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    tmp_path: Path, width: int, layers: int, millions: float
) -> None:
    """DiT-S/2, B/2 and XL/2 in millions: T-Stitch, arXiv 2402.14167, table 3. Only shapes are saved."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in dit_weights(width, layers, size=8, classes=1000).items()}
    weights = {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
    weights["pos_embed"] = torch.zeros(1).expand(1, 256, width)
    found = read_checkpoint(saved(tmp_path / "weights.pt", weights), "dit")
    assert found.n_parameters / 1e6 == pytest.approx(millions, abs=0.05)
    assert (found.config["sample_size"], found.config["out_channels"], found.config["num_layers"]) == (32, 8, layers)
    assert found.config["num_attention_heads"] == {384: 6, 768: 12, 1152: 16}[width]


def test_a_uvit_is_saved_and_loaded_as_a_diffusers_folder(tmp_path: Path) -> None:
    model = load_checkpoint(saved(tmp_path / "uvit.pth", uvit_weights()), "uvit")
    model.save_pretrained(tmp_path / "folder")
    again = UViT2DModel.from_pretrained(tmp_path / "folder")
    assert torch.equal(again(X, timestep=T, class_labels=Y).sample, model(X, timestep=T, class_labels=Y).sample)
    assert not hasattr(AutoModel, "UViT2DModel")


def test_one_timestep_serves_the_whole_batch() -> None:
    model = UViT2DModel(width=32, num_attention_heads=1, num_layers=3, sample_size=8, num_class_embeds=11).eval()
    with torch.no_grad():
        together = model(X, torch.tensor(40), Y).sample
        assert torch.equal(together, model(X, torch.full((4,), 40), Y).sample)
    assert together.shape == X.shape


class Harmful:
    """What a checkpoint of bad will may hold: something that runs while it is loaded."""

    def __reduce__(self) -> Any:
        return (exec, ("print('harm done')",))


def test_nothing_in_a_checkpoint_can_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path / "bad.pt", dit_weights() | {"extra": Harmful()})
    with pytest.raises(ConfigError, match=r"bad.pt holds more than tensors: \w+.exec is not a tensor"):
        read_checkpoint(file, "dit")
    with pytest.raises(ConfigError, match="holds more than tensors"):
        load_checkpoint(file, "dit")
    assert capsys.readouterr().out == ""


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(EnvironmentProblem, match=r"text.pt is no checkpoint that torch.save wrote"):
        read_checkpoint(tmp_path / "text.pt", "dit")
    with pytest.raises(EnvironmentProblem, match=r"absent.pt is no checkpoint"):
        read_checkpoint(tmp_path / "absent.pt", "dit")
    other = saved(tmp_path / "uvit.pth", uvit_weights())
    with pytest.raises(ConfigError, match=r"holds no weights named 'x_embedder.proj.weight', expected .* format 'dit'"):
        read_checkpoint(other, "dit")


def test_weights_of_another_shape_than_the_formats_are_refused(tmp_path: Path) -> None:
    weights = dit_weights()
    del weights["blocks.1.mlp.fc2.bias"]
    with pytest.raises(ConfigError, match=r"broken.pt does not fit the format 'dit': 'blocks.1.mlp.fc2.bias'"):
        load_checkpoint(saved(tmp_path / "broken.pt", weights), "dit")


def test_describing_a_checkpoint_loads_no_torch(tmp_path: Path) -> None:
    file = saved(tmp_path / "dit.pt", trained(dit_weights()))
    program = (
        "import sys; from pathlib import Path; from tstitch_search.members.formats.checkpoints import read_checkpoint\n"
        "print(read_checkpoint(Path(sys.argv[1]), 'dit').class_name, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    assert ran.stdout == "DiTTransformer2DModel False\n"

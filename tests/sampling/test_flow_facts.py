"""What members of flow matching must agree in, held against each other by `check`: both values are named."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from sampling.saved_pipelines import STUDY, save_pipeline

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.members.positions import beyond
from tstitch_search.members.step_placement import placement
from tstitch_search.tasks.check import Check, check_study

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny pipelines, each with what its repository would have beside B."""
    root = tmp_path_factory.mktemp("flow")
    for name in ("flux", "sd3", "ltx", "cogvideox"):
        folder = save_pipeline(name, root / name)
        (folder / "prompts.txt").write_text("a cat\n" * 40)
        (folder / "study.yaml").write_text(STUDY)
        for part in ("vae", "scheduler"):
            shutil.copytree(folder / part, folder / "B" / part)
    return root


def checked(folder: Path, tmp_path: Path, file: str, **values: Any) -> Check:
    """What `check` says once the file of B says so."""
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    path = own / "B" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return check_study(load_study(own / "study.yaml"))


@pytest.mark.parametrize(
    ("pipeline", "file", "values", "problem"),
    [
        ("flux", "vae/config.json", {"shift_factor": 0.1159}, "a VAE with shift_factor 0.1159, but .* has 0.06"),
        ("flux", "scheduler/scheduler_config.json", {"num_train_timesteps": 1}, "counts time to 1, .* to 1000"),
        ("flux", "scheduler/scheduler_config.json", {"invert_sigmas": True}, "noise is at time 0, .*'s at its end"),
        ("flux", "config.json", {"in_channels": 64}, "in_channels 64, but the VAE has latent_channels 16"),
        ("flux", "config.json", {"pooled_projection_dim": 768}, "pooled_projection_dim 768, but .* has 32"),
        ("ltx", "config.json", {"patch_size": 2}, "patch_size 2, but denoiser 'S' has 1"),
        ("cogvideox", "config.json", {"use_rotary_positional_embeddings": True}, "embeddings True, but .* has False"),
    ],
)
def test_what_would_be_asked_wrongly_is_refused(
    saved: Path, tmp_path: Path, pipeline: str, file: str, values: Any, problem: str
) -> None:
    found = checked(saved / pipeline, tmp_path, file, **values)
    assert found.problem is not None
    assert found.problem.startswith("denoiser 'B' has")
    assert re.search(problem, found.problem)


def test_another_shift_is_no_misfit_and_both_are_said(saved: Path, tmp_path: Path) -> None:
    values = {"use_dynamic_shifting": False, "shift": 1.0}
    found = checked(saved / "flux", tmp_path, "scheduler/scheduler_config.json", **values)
    assert found.problem is None
    (remark,) = found.remarks
    assert "'B' was published with shift 1," in remark
    assert "shift by resolution, 0.5 to 1.15" in remark


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**FLOW, "shift": 3.0}, "shift 3"),
        ({**FLOW, "use_dynamic_shifting": True, "max_shift": 0.9, "shift_terminal": 0.02}, "to 0.9, ending at 0.02"),
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "flow_shift": 5.0}, "shift 5"),
        ({**FLOW, "use_beta_sigmas": True}, "shift 1, beta"),
        ({"_class_name": "DDIMScheduler"}, "None"),
    ],
)
def test_where_steps_lie(config: dict[str, Any], said: str) -> None:
    assert str(placement(config)).endswith(said)


@pytest.mark.parametrize(
    ("config", "at_most", "too_much"),
    [
        ({"_class_name": "SD3Transformer2DModel", "pos_embed_max_size": 192, "patch_size": 2}, 3072, 3088),
        ({"_class_name": "AuraFlowTransformer2DModel", "pos_embed_max_size": 9216, "patch_size": 2}, 1536, 1552),
        ({"_class_name": "ZImageTransformer2DModel", "axes_lens": [1536, 512, 512], "all_patch_size": [2]}, 8192, 8208),
        ({"_class_name": "WanTransformer3DModel", "rope_max_seq_len": 128, "patch_size": [1, 2, 2]}, 2048, 2064),
        ({"_class_name": "Kandinsky5Transformer3DModel", "patch_size": [1, 2, 2]}, 2048, 2064),
    ],
)
def test_sizes_beyond_the_positions_that_a_denoiser_knows(config: Any, at_most: int, too_much: int) -> None:
    assert beyond(config, {"height": at_most, "width": 512}, 8, 4) is None
    assert f"patches a side, but in `call` {too_much} pixels" in str(beyond(config, {"width": too_much}, 8, 4))


def test_frames_and_text_beyond_the_positions_that_a_denoiser_knows() -> None:
    wan = {"_class_name": "WanTransformer3DModel", "rope_max_seq_len": 32}
    assert beyond(wan, {"num_frames": 125}, 8, 4) is None
    assert "of 32 latent frames, but in `call` num_frames 129 is 33" in str(beyond(wan, {"num_frames": 129}, 8, 4))
    lumina = {"_class_name": "Lumina2Transformer2DModel", "axes_lens": [300, 512, 512]}
    assert "of 299 tokens of text" in str(beyond(lumina, {"max_sequence_length": 300}, 8, None))


def test_check_refuses_them_with_the_denoiser_s_name(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"'S' knows positions of 96 patches a side, but .* 104 pixels are 104"):
        check_study(load_study(saved / "sd3" / "study.yaml", ["space.call={height: 104, width: 8}"]))

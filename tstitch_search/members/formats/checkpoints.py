"""What single-file checkpoints (.pt, .pth, .ckpt) of denoisers hold, read without torch and without running any of it.

DiT-S and DiT-B, every U-ViT and both LDMs of the paper were published in this form only. The models they become are in
`converting.py`.
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt, prod
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.files import require_itself
from tstitch_search.members.noise_process import NoiseProcess

CheckpointFormat: TypeAlias = Literal["dit", "uvit", "ldm"]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

# What each was trained to undo: Peebles & Xie, arXiv 2212.09748, section 4; Bao et al., arXiv 2209.12152, appendix A;
# LDM's configurations of ImageNet (linear_start, linear_end).
NOISE: dict[CheckpointFormat, NoiseProcess] = {
    "dit": NoiseProcess(),
    "uvit": NoiseProcess(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "ldm": NoiseProcess(beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195),
}
# Of an LDM's training checkpoint, what is the denoiser: first stage, averages and optimizer stand beside it.
LDM_UNET, LDM_CLASSES = "model.diffusion_model.", "cond_stage_model.embedding.weight"
# A training checkpoint holds several copies of the weights; the one that is sampled from comes first.
COPIES = ("ema", "model", "state_dict")


@dataclass(frozen=True)
class Checkpoint:
    """The class and config.json that a checkpoint's weights belong to, and how many values they are."""

    class_name: str
    config: Mapping[str, Any]
    n_parameters: int


def read_checkpoint(file: Path, form: CheckpointFormat) -> Checkpoint:
    """What the file's weights are, by their names and shapes. Raises ConfigError when they are not of this format."""
    shapes = read_shapes(file)
    if form == "ldm":
        shapes = {key: shape for key, shape in shapes.items() if key.startswith(LDM_UNET) or key == LDM_CLASSES}
    try:
        class_name, config = _LAYOUTS[form](shapes)
    except KeyError as error:
        raise ConfigError(
            f"{file} holds no weights named {error}, expected a checkpoint of format {form!r}",
            hint=f"the formats are {', '.join(NOISE)}; diffusers folders need none",
        ) from error
    return Checkpoint(class_name, config, sum(map(prod, shapes.values())))


def read_shapes(file: Path) -> Shapes:
    """Name and shape of every tensor in a torch checkpoint, of the copy that is sampled from.

    The pickle inside is read by a reader that knows tensors and plain values only, so nothing in it can run. Raises
    EnvironmentProblem for a file that is no zip (torch before 1.6 wrote none), ConfigError for one with other content.
    """
    require_itself(file, "a checkpoint")
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as stream:
                value = _ShapeReader(stream).load()
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise EnvironmentProblem(
            f"{file} is no checkpoint that torch.save wrote: {error or 'it holds no data.pkl'}",
            hint="fetch it again; files of torch before 1.6 must be loaded and saved once with a newer torch",
        ) from error
    except (pickle.UnpicklingError, TypeError, ValueError, IndexError, EOFError, AttributeError) as error:
        raise ConfigError(f"{file} holds more than tensors: {error}", hint="save the state_dict alone") from error
    return {key: shape for key, shape in sampled_copy(value).items() if isinstance(shape, tuple)}


def sampled_copy(checkpoint: Any) -> Mapping[str, Any]:
    """The weights in what a checkpoint holds: it is them, or holds them as its `ema`, `model` or `state_dict`."""
    found = next((checkpoint[name] for name in COPIES if isinstance(checkpoint.get(name), dict)), checkpoint)
    return {key.removeprefix("module."): value for key, value in found.items()}


class _ShapeReader(pickle.Unpickler):
    """Reads tensors as their shapes; every other object is refused."""

    def persistent_load(self, pid: Any) -> None:
        """Nothing: the bytes of a tensor are not wanted."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for what weights are made of."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if f"{module}.{name}" in BESIDE_WEIGHTS:
            return StandIn
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _shape_of_tensor if name == "_rebuild_tensor_v2" else _shape_of_parameter
        if module == "torch" and (name.endswith("Storage") or name in ("float32", "float16", "bfloat16")):
            return None
        raise pickle.UnpicklingError(f"{module}.{name} is not a tensor")


# What trainings save beside the weights, by name: DiT's arguments; the callback that LDM's Lightning names by class.
BESIDE_WEIGHTS = ("argparse.Namespace", "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")


class StandIn:
    """Stands for one of BESIDE_WEIGHTS, and does nothing."""


def _shape_of_tensor(_storage: None, _offset: int, size: tuple[int, ...], *_rest: Any) -> tuple[int, ...]:
    return tuple(size)


def _shape_of_parameter(data: tuple[int, ...], *_rest: Any) -> tuple[int, ...]:
    return data


def _dit(shapes: Shapes) -> tuple[str, dict[str, Any]]:
    """Layout of facebookresearch/DiT."""
    width, in_channels, patch_size, _ = shapes["x_embedder.proj.weight"]
    n_tokens, out_values = shapes["pos_embed"][1], shapes["final_layer.linear.weight"][0]
    return "DiTTransformer2DModel", {
        "num_attention_heads": n_heads(width),
        "attention_head_dim": width // n_heads(width),
        "num_layers": _count(shapes, r"blocks\.(\d+)\."),
        "sample_size": isqrt(n_tokens) * patch_size,
        "patch_size": patch_size,
        "in_channels": in_channels,
        "out_channels": out_values // patch_size**2,
        "num_embeds_ada_norm": shapes["y_embedder.embedding_table.weight"][0] - 1,
        "norm_eps": 1e-6,
    }


def _uvit(shapes: Shapes) -> tuple[str, dict[str, Any]]:
    """Layout of baofff/U-ViT, class-conditional."""
    width, in_channels, patch_size, _ = shapes["patch_embed.proj.weight"]
    n_tokens = shapes["pos_embed"][1] - 2
    return "UViT2DModel", {
        "width": width,
        "num_attention_heads": n_heads(width),
        "num_layers": 2 * _count(shapes, r"in_blocks\.(\d+)\.") + 1,
        "sample_size": isqrt(n_tokens) * patch_size,
        "patch_size": patch_size,
        "in_channels": in_channels,
        "out_channels": in_channels,
        "num_class_embeds": shapes["label_emb.weight"][0],
        "qkv_bias": "mid_block.attn.qkv.bias" in shapes,
        "time_mlp": "time_embed.0.weight" in shapes,
        "final_conv": "final_layer.weight" in shapes,
    }


def _ldm(shapes: Shapes) -> tuple[str, dict[str, Any]]:
    """Layout of CompVis/latent-diffusion, class-conditional, of images of 256 pixels.

    1000 classes are all classes (T-Stitch's LDM-S and LDM), of any other number the last says "no label" (cin256-v2).
    """
    unet = {key.removeprefix(LDM_UNET): shape for key, shape in shapes.items()}
    n_classes, context = unet[LDM_CLASSES]
    in_channels = unet["input_blocks.0.0.weight"][1]
    n_layers = min(_all(unet, r"input_blocks\.(\d+)\.0\.op\."), default=_count(unet, r"input_blocks\.(\d+)\.")) - 1
    firsts = range(1, _count(unet, r"input_blocks\.(\d+)\."), n_layers + 1)  # of each resolution
    widths = [unet[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in firsts]
    attends = [f"input_blocks.{i}.1.proj_in.weight" in unet for i in firsts]
    return "ClassConditionalUNet", {
        "unet_config": {
            "block_out_channels": widths,
            "layers_per_block": n_layers,
            "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
            "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
            "cross_attention_dim": context,
            "attention_head_dim": [_n_ldm_heads(width, in_channels) for width in widths],  # diffusers: their number
        },
        "num_class_embeds": n_classes,
        "sample_size": 64 if in_channels == 3 else 32,
        "in_channels": in_channels,
        "out_channels": unet["out.2.weight"][0],
        "null_seed": 0 if n_classes == 1000 else None,
    }


def _n_ldm_heads(width: int, in_channels: int) -> int:
    """Attention heads, which no shape tells: one over VQ-f4's 3 channels (cin256-v2), of 32 channels over VQ-f8's 4."""
    return 1 if in_channels == 3 else max(1, width // 32)


_LAYOUTS: dict[CheckpointFormat, Callable[[Shapes], tuple[str, dict[str, Any]]]] = {
    "dit": _dit,
    "uvit": _uvit,
    "ldm": _ldm,
}


def n_heads(width: int) -> int:
    """Attention heads, which no shape tells: 64 channels each, but at most 16, as in all published sizes."""
    return max(1, min(16, width // 64))


def _count(shapes: Shapes, pattern: str) -> int:
    return 1 + max(_all(shapes, pattern), default=-1)


def _all(shapes: Shapes, pattern: str) -> list[int]:
    """The number in every key that begins like the pattern."""
    return [int(found[1]) for key in shapes if (found := re.match(pattern, key))]

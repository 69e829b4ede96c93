"""Single-file checkpoints (.pt, .pth, .ckpt) as models: what `checkpoints.py` reads, with its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiTTransformer2DModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import nn

from tstitch_search.errors import ConfigError
from tstitch_search.members.formats.checkpoints import (
    BESIDE_WEIGHTS,
    LDM_CLASSES,
    LDM_UNET,
    CheckpointFormat,
    StandIn,
    read_checkpoint,
    sampled_copy,
)
from tstitch_search.members.formats.class_conditional import ClassConditionalUNet
from tstitch_search.members.formats.uvit import UViT2DModel
from tstitch_search.members.weights import first_line

Weights = Mapping[str, torch.Tensor]


def load_checkpoint(file: Path, form: CheckpointFormat) -> nn.Module:
    """The model in the file, in float32 on the CPU. Raises ConfigError when the weights do not fit the format.

    Read with `weights_only=True`; what trainings save beside the weights is replaced by an empty stand-in.
    """
    config = read_checkpoint(file, form).config
    weights = read_weights(file)
    try:
        return {"dit": _dit, "uvit": _uvit, "ldm": _ldm}[form](config, weights).eval()
    except (RuntimeError, KeyError) as error:
        raise ConfigError(f"{file} does not fit the format {form!r}: {first_line(error)}") from error


def read_weights(file: Path) -> Weights:
    """The tensors of the checkpoint by name, of the copy that is sampled from."""
    with torch.serialization.safe_globals([(StandIn, name) for name in BESIDE_WEIGHTS]):
        return sampled_copy(torch.load(file, map_location="cpu", weights_only=True))


def _ldm(config: Mapping[str, Any], weights: Weights) -> nn.Module:
    """A `ClassConditionalUNet` of the averaged weights, where there are any; LDM's training keeps both."""
    averaged = {
        key: weights.get(f"model_ema.{key.removeprefix('model.').replace('.', '')}", value)
        for key, value in weights.items()
        if key.startswith(LDM_UNET)
    }
    model = ClassConditionalUNet.from_config(dict(config))
    model.unet.load_state_dict(convert_ldm_unet_checkpoint(averaged, config["unet_config"]))
    model.embedder.weight.data.copy_(weights[LDM_CLASSES])
    return model


def _uvit(config: Mapping[str, object], weights: Weights) -> nn.Module:
    model: nn.Module = UViT2DModel.from_config(dict(config))
    model.load_state_dict(dict(weights))
    return model


def _dit(config: Mapping[str, object], weights: Weights) -> nn.Module:
    """A `DiTTransformer2DModel` that answers as the original does.

    diffusers keeps a copy of the two embedders in every block: here all blocks share one. And its class-conditional
    embedder spaces the frequencies of time by 1/(n - 1), where the original DiT has 1/n (n = 128).
    """
    model = DiTTransformer2DModel.from_config(dict(config))
    embedders = [block.norm1.emb for block in model.transformer_blocks]
    for block in model.transformer_blocks:
        block.norm1.emb = embedders[0]
    embedders[0].time_proj.downscale_freq_shift = 0
    n_layers = len(model.transformer_blocks)
    model.load_state_dict(dict(_renamed(weights, n_layers)))
    model.pos_embed.pos_embed.copy_(weights["pos_embed"])
    return model


def _renamed(weights: Weights, n_layers: int) -> dict[str, torch.Tensor]:
    """The original's weights under diffusers' names."""
    renamed = {
        "pos_embed.proj": "x_embedder.proj",
        "proj_out_1": "final_layer.adaLN_modulation.1",
        "proj_out_2": "final_layer.linear",
    }
    for i in range(n_layers):
        ours, theirs = f"transformer_blocks.{i}", f"blocks.{i}"
        renamed |= {
            f"{ours}.norm1.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
            f"{ours}.norm1.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
            f"{ours}.norm1.linear": f"{theirs}.adaLN_modulation.1",
            f"{ours}.attn1.to_out.0": f"{theirs}.attn.proj",
            f"{ours}.ff.net.0.proj": f"{theirs}.mlp.fc1",
            f"{ours}.ff.net.2": f"{theirs}.mlp.fc2",
        }
    result = {f"{new}.{kind}": weights[f"{old}.{kind}"] for new, old in renamed.items() for kind in ("weight", "bias")}
    for i in range(n_layers):
        ours, table = f"transformer_blocks.{i}", "embedding_table.weight"
        result[f"{ours}.norm1.emb.class_embedder.{table}"] = weights[f"y_embedder.{table}"]
        for kind in ("weight", "bias"):
            parts = weights[f"blocks.{i}.attn.qkv.{kind}"].chunk(3)
            result |= {f"{ours}.attn1.to_{name}.{kind}": part for name, part in zip("qkv", parts, strict=True)}
    return result

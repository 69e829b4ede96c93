"""The first stage of an LDM (VQ-f4, VQ-f8) as the folders that a pipeline is made of; its checkpoints are single files.

`python -m tstitch_search.members.formats.ldm_first_stage model.ckpt FOLDER` writes FOLDER/vae and FOLDER/scheduler,
once. The checkpoint is the first stage's own, or that of a whole LDM, which holds it.
"""

import re
import sys
from dataclasses import asdict
from pathlib import Path

from diffusers import DDIMScheduler, VQModel

from tstitch_search.errors import ConfigError
from tstitch_search.members.formats.checkpoint_models import Weights, read_weights
from tstitch_search.members.formats.checkpoints import NOISE
from tstitch_search.members.weights import first_line

PREFIX = "first_stage_model."
PARTS = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
# What layers are called in taming-transformers, and in diffusers.
NAMES = {
    r"\.mid\.block_1\.": ".mid_block.resnets.0.",
    r"\.mid\.block_2\.": ".mid_block.resnets.1.",
    r"\.mid\.attn_1\.": ".mid_block.attentions.0.",
    r"\.(down|up)\.(\d+)\.block\.": r".\1_blocks.\2.resnets.",
    r"\.(down|up)\.(\d+)\.attn\.": r".\1_blocks.\2.attentions.",
    r"\.(down|up)\.(\d+)\.(down|up)sample\.": r".\1_blocks.\2.\3samplers.0.",
    r"\.nin_shortcut\.": ".conv_shortcut.",
    r"\.norm_out\.": ".conv_norm_out.",
    r"(attentions\.\d+)\.norm\.": r"\1.group_norm.",
    r"(attentions\.\d+)\.([qkv])\.": r"\1.to_\2.",
    r"(attentions\.\d+)\.proj_out\.": r"\1.to_out.0.",
}


def load_first_stage(file: Path) -> VQModel:
    """The vector-quantised autoencoder in the file, latents as they are (scaling_factor 1), in float32 on the CPU.

    Raises ConfigError when the file holds another one, EnvironmentProblem when it cannot be read.
    """
    weights = read_weights(file)
    weights = {key.removeprefix(PREFIX): value for key, value in weights.items()}
    weights = {key: value for key, value in weights.items() if key.startswith(PARTS)}
    try:
        model = VQModel(**_config(weights))
        model.load_state_dict(_renamed(weights, len(model.config.block_out_channels)))
    except (KeyError, RuntimeError) as error:
        raise ConfigError(
            f"{file} holds no first stage of an LDM: {first_line(error)}",
            hint="expected VQ-f4 or VQ-f8 of CompVis/latent-diffusion, or a checkpoint of an LDM with it",
        ) from error
    return model.eval()


def _config(weights: Weights) -> dict[str, object]:
    """Arguments of VQModel, read from names and shapes."""
    levels = sorted({int(found[1]) for key in weights if (found := re.match(r"encoder\.down\.(\d+)\.", key))})
    attends = [f"encoder.down.{i}.attn.0.norm.weight" in weights for i in levels]
    n_codes, width = weights["quantize.embedding.weight"].shape
    return {
        "block_out_channels": [len(weights[f"encoder.down.{i}.block.0.conv2.weight"]) for i in levels],
        "down_block_types": ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attends],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attends)],
        "layers_per_block": sum(key.startswith("encoder.down.0.block.") and "conv1.bias" in key for key in weights),
        "latent_channels": weights["quant_conv.weight"].shape[1],
        "num_vq_embeddings": n_codes,
        "vq_embed_dim": width,
        "scaling_factor": 1.0,
    }


def _renamed(weights: Weights, n_levels: int) -> Weights:
    """The weights under diffusers' names; it counts the decoder's levels from the coarsest, and attention is linear."""
    renamed = {}
    for key, value in weights.items():
        key = re.sub(r"(decoder\.up\.)(\d+)", lambda found: f"{found[1]}{n_levels - 1 - int(found[2])}", key)
        for old, new in NAMES.items():
            key = re.sub(old, new, key)
        renamed[key] = value[:, :, 0, 0] if "attentions" in key and value.ndim == 4 else value
    return renamed


def main(file: Path, folder: Path) -> None:
    """Write the two folders."""
    load_first_stage(file).save_pretrained(folder / "vae")
    DDIMScheduler(clip_sample=False, **asdict(NOISE["ldm"])).save_pretrained(folder / "scheduler")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

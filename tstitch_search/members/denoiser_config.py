"""What a denoiser's configuration says of its inputs. Imports no torch."""

from collections.abc import Mapping
from typing import Any

# What CogVideoX, Wan and Kandinsky 5 call the width of their text embeddings.
VIDEO_WIDTHS = ("text_embed_dim", "text_dim", "in_text_dim")
# A pipeline asks the largest member how to lay latents out and which positions go with them; the others get the same.
# By class of the denoiser, the keys of its configuration that pipelines read for this.
PREPARED = {
    "SD3Transformer2DModel": ("pooled_projection_dim",),
    "FluxTransformer2DModel": ("pooled_projection_dim",),
    "CogVideoXTransformer3DModel": (
        "patch_size",
        "patch_size_t",
        "attention_head_dim",
        "use_rotary_positional_embeddings",
        "max_text_seq_length",
    ),
    "LTXVideoTransformer3DModel": ("patch_size", "patch_size_t"),
    "LTX2VideoTransformer3DModel": ("patch_size", "patch_size_t", "audio_in_channels"),
    "HunyuanVideo15Transformer3DModel": ("text_embed_2_dim", "image_embed_dim"),
    "Kandinsky5Transformer3DModel": ("patch_size", "in_text_dim2", "visual_cond", "attention_type"),
}


def in_channels_of(config: Mapping[str, Any]) -> int:
    """The channels that a denoiser takes, 0 where its configuration does not say; Kandinsky 5 has its own word."""
    return int(config.get("in_channels") or config.get("in_visual_dim") or 0)


def n_classes(config: Mapping[str, Any]) -> int:
    """How many class labels a denoiser knows; its null class ("no label") is the number after the last class.

    A DiT adds an embedding for the null class to `num_embeds_ada_norm`; of a UNet2DModel's `num_class_embeds` it is
    the last, unless `null_seed` makes noise of it. 0 for an unconditional denoiser.
    """
    if "num_embeds_ada_norm" in config:
        return int(config["num_embeds_ada_norm"])
    return int(config.get("num_class_embeds") or 1) - (config.get("null_seed") is None)


def conditioning_width(config: Mapping[str, Any]) -> int | None:
    """The width of the embeddings that the denoiser attends to; the same in all its blocks."""
    # Of Sana and PixArt, the width of cross attention is their own; captions come in `caption_channels`.
    keys = ("caption_channels", "cross_attention_dim", "joint_attention_dim", "cap_feat_dim", *VIDEO_WIDTHS)
    width = next((config[key] for key in keys if config.get(key)), None)
    return max(width) if isinstance(width, list) else width


def side_of(sample_size: Any) -> int | None:
    """Of a config's sample_size, which some give for each axis, and some not at all."""
    return max(sample_size) if isinstance(sample_size, list) else sample_size


def added_conditioning_of(config: Mapping[str, Any]) -> str | None:
    """What a U-Net takes beside prompts, and its width (SDXL: sizes and pooled embeddings); None for nothing."""
    kind = config.get("addition_embed_type")
    return kind and f"{kind} {config.get('projection_class_embeddings_input_dim')}"


def prepared_of(config: Mapping[str, Any]) -> dict[str, object]:
    """What its pipeline reads of this configuration for all members, by key, as far as it is there."""
    return {key: config[key] for key in PREPARED.get(str(config.get("_class_name")), ()) if key in config}

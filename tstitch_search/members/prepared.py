"""What a pipeline prepares for one denoiser and hands to every member. Imports no torch.

A pipeline asks the largest member how to lay latents out and which positions go with them; the others get the same.
"""

from collections.abc import Mapping
from typing import Any

# By class of the denoiser, the keys of its configuration that its pipelines read for this.
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


def prepared_of(config: Mapping[str, Any]) -> dict[str, object]:
    """Those properties of a denoiser's configuration, by key, as far as it says them."""
    return {key: config[key] for key in PREPARED.get(str(config.get("_class_name")), ()) if key in config}

"""How far a denoiser knows positions: beyond, images come out broken, or stop in the middle. Imports no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Kandinsky 5 does not say it in its configuration.
KANDINSKY = 128


@dataclass(frozen=True)
class Limits:
    """Patches a side (rows and columns), latent frames, and tokens of text; None: not limited, or not known."""

    side: int | None = None
    frames: int | None = None
    text: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Limits":
        """What a denoiser's configuration says."""
        match config.get("_class_name"):
            case "SD3Transformer2DModel":
                return cls(side=config.get("pos_embed_max_size"))
            case "AuraFlowTransformer2DModel":  # of the whole square
                return cls(side=math.isqrt(config.get("pos_embed_max_size") or 0) or None)
            case "Lumina2Transformer2DModel" | "ZImageTransformer2DModel":  # images come behind the text
                text, *sides = config.get("axes_lens") or [None]
                return cls(side=min(sides, default=None), text=text and text - 1)
            case "WanTransformer3DModel":
                return cls(side=config.get("rope_max_seq_len"), frames=config.get("rope_max_seq_len"))
            case "CogVideoXTransformer3DModel" if not config.get("use_rotary_positional_embeddings"):
                return cls(text=config.get("max_text_seq_length"))
            case "Kandinsky5Transformer3DModel":
                return cls(side=KANDINSKY, frames=KANDINSKY)
        return cls()


def beyond(
    config: Mapping[str, Any], call: Mapping[str, Any], pixels_per_latent: int, frames_per_latent: int | None
) -> str | None:
    """What `call` asks for beyond the positions of the denoiser with this configuration; None for nothing."""
    limits, patch = Limits.of(config), _patch(config)
    pixels = max((call[key] for key in ("height", "width") if isinstance(call.get(key), int)), default=0)
    frames = ((call.get("num_frames") or 1) - 1) // (frames_per_latent or 1) + 1
    asked = {
        "patches a side": (limits.side, pixels // (pixels_per_latent * patch), f"{pixels} pixels are"),
        "latent frames": (limits.frames, frames, f"num_frames {call.get('num_frames')} is"),
        "tokens of text": (limits.text, call.get("max_sequence_length") or 0, "max_sequence_length is"),
    }
    for what, (limit, n, said) in asked.items():
        if limit is not None and n > limit:
            return f"knows positions of {limit} {what}, but in `call` {said} {n}"
    return None


def _patch(config: Mapping[str, Any]) -> int:
    """Latents a side of one patch."""
    size = config.get("patch_size") or (config.get("all_patch_size") or [1])[0]
    return int(size[-1] if isinstance(size, list) else size)

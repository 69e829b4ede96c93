"""How many frames a clip may have: what the pipeline's VAE packs into one latent frame decides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.facts import pipeline_folder
from tstitch_search.members.weights import read_json


def frames_per_latent(vae_config: Mapping[str, Any]) -> int | None:
    """Frames that one latent frame stands for, after the first; None where the VAE's config.json does not say."""
    if ratio := vae_config.get("temporal_compression_ratio") or vae_config.get("scale_factor_temporal"):
        return int(ratio)
    for key in ("temperal_downsample", "spatio_temporal_scaling"):  # a doubling for each
        if key in vae_config:
            return int(2 ** sum(map(bool, vae_config[key])) * vae_config.get("patch_size_t", 1))
    return None


def require_frames(space: SpaceConfig, near: Path) -> None:
    """Nothing, when the VAE can make as many frames as `call` asks for. Raises ConfigError naming numbers near it."""
    n_frames = space.call.get("num_frames")
    if not isinstance(n_frames, int):
        return
    folder = pipeline_folder(space, near, with_weights=False)
    each = frames_per_latent(read_json(folder / "vae" / "config.json", "the pipeline's VAE"))
    if each and (n_frames - 1) % each:
        below = (n_frames - 1) // each * each + 1
        raise ConfigError(
            f"call: num_frames: got {n_frames}, but the VAE makes 1 frame, and {each} more for each further latent",
            hint=f"num_frames: {below} or {below + each}",
        )

"""How many frames a clip may have: what the pipeline's VAE packs into one latent frame decides."""

from pathlib import Path

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.members.vae import frames_per_latent
from tstitch_search.members.weights import read_json


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

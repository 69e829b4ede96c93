"""What a denoiser was trained to undo. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class NoiseProcess:
    """Members share a trajectory if they agree in it, or one can be converted.

    The defaults are what diffusers assumes for a key that a scheduler_config.json leaves out. Of flow matching, which
    has no betas, `beta_schedule` is "flow", or "rising flow" where the noise is at time 0 (Mochi).
    """

    num_train_timesteps: int = 1000
    beta_schedule: str = "linear"
    beta_start: float = 0.0001
    beta_end: float = 0.02
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False

    @classmethod
    def of(cls, scheduler_config: Mapping[str, Any]) -> "NoiseProcess":
        """The noise process that a scheduler_config.json describes."""
        own = cls(**{key: scheduler_config.get(key, default) for key, default in asdict(cls()).items()})
        is_flow = "FlowMatch" in str(scheduler_config.get("_class_name")) or scheduler_config.get("use_flow_sigmas")
        schedule = "rising flow" if scheduler_config.get("invert_sigmas") else "flow"
        return cls(own.num_train_timesteps, schedule, 0.0, 0.0, "flow_prediction") if is_flow else own

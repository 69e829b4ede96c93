"""How image quality is measured."""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import Images, Loss, Text

# Per pair with the anchor's image of the same seed; per image, by its prompt; per set.
PAIRED = ("psnr", "ssim", "perceptual", "lpips", "dino_distance", "clip_distance", "temporal_consistency")
BY_PROMPT = ("clip_score", "pick_score", "hps_v2")
# Fréchet distances, which have control variates, and so can be raced.
FRECHET = ("fid", "fd_dinov2")
NAMES = (*FRECHET, "kid", "cmmd", "inception_score", "precision", "recall", *BY_PROMPT, *PAIRED)
OWN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


def _known(name: str) -> str:
    if name in NAMES or re.match(OWN, name):
        return name
    raise ValueError(f"got {name!r:.60}, expected one of {', '.join(NAMES)}, or module:Class of your own")


MetricName: TypeAlias = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema({"anyOf": [{"enum": list(NAMES)}, {"type": "string", "pattern": OWN}]}),
]

# The metrics that compare with real images.
COMPARING = (*FRECHET, "kid", "cmmd", "precision", "recall")
# Extractors that transformers loads, whose weights are a folder or a hub id: the papers' own are DINOv2 ViT-L/14, and
# CLIP ViT-L/14 at 336 pixels.
OF_TRANSFORMERS = {"dinov2": "facebook/dinov2-large", "clip": "openai/clip-vit-large-patch14-336"}
# Those that name the network they look with.
EXTRACTOR_OF = {"fd_dinov2": "dinov2", "cmmd": "clip"}


class GuardConfig(Model):
    """A second metric that an entry must not lose while it wins the objective."""

    metric: MetricName = Field(description="Which metric guards.")
    tolerance: Loss = Field(
        0.02,
        description="An entry whose guard is worse than the anchor's by more than this share is flagged; a "
        "metric per pair goes by its own margin.",
    )
    reference: Literal["study", "anchor"] = Field(
        "study",
        description="study: quality.reference; anchor: the anchor's own images of the other set, for a study "
        "without real images.",
    )


class QualityConfig(Model):
    """How image quality is measured."""

    objective: MetricName = Field("fid", description="The metric M of Eq. 6 that the search optimises.")
    metrics: tuple[MetricName, ...] = Field((), description="Further metrics, reported for every entry.")
    anchor: Text | None = Field(
        None,
        description="The allocation that all are held against, for example XL*20 or HIGH*8-LOW*12; default: the last "
        "denoiser of the search space, the largest, alone.",
    )
    guard: GuardConfig | None = Field(None, description="A metric that must not be lost; for example inception_score.")
    features_dtype: Literal["float32", "float16"] = Field(
        "float32", description="How features are stored; float16 halves the disk (FID changes by about 1e-6)."
    )
    extractor: Text = Field(
        "inception-v3-compat",
        description="torch-fidelity feature extractor, dinov2 or clip of transformers, fashion-cnn of the zoo, or "
        "module:Class of your own.",
    )
    extractor_weights: Text | None = Field(
        None,
        description="File with the extractor's weights, of dinov2 and clip a folder or hub id; default: its own place "
        "or download.",
    )
    reference: Text | None = Field(
        None,
        description="Real images: a folder, an .npz (mu and sigma, features, or images as arr_0), dataset:NAME of "
        "torch-fidelity, or zoo:FAMILY.",
    )
    lpips_weights: Text | None = Field(
        None,
        description="Weights of LPIPS: a .safetensors or .pth with torchvision's AlexNet and the linear layers of the "
        "lpips package; see docs/statistics.md.",
    )
    clip_model: Text = Field(
        "openai/clip-vit-large-patch14",
        description="CLIP model for clip_score and clip_distance: hub id (owner/name@commit), or folder of "
        "save_pretrained.",
    )
    dino_model: Text = Field("facebook/dinov2-base", description="Model for dino_distance: hub id or folder.")
    pick_score_model: Text = Field("yuvalkirstain/PickScore_v1", description="Model of PickScore: hub id or folder.")
    hps_weights: Text | None = Field(
        None, description="Weights of HPS v2: the file HPS_v2.1_compressed.pt of xswu/HPSv2."
    )
    preference_processor: Text = Field(
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        description="Tokens and image sizes for PickScore and HPS v2: hub id or folder of a CLIP ViT-H/14.",
    )
    n_images: Images = Field(1000, description="Images per allocation while searching.")
    control_images: Images | None = Field(
        None,
        description="Images of each denoiser alone, and of neighbours half and half, while searching: control variates "
        "that lift every FID to this number of images, with less noise. Default: n_images when racing, else none.",
    )

    @field_validator("control_images")
    @classmethod
    def _controls_fid(cls, control_images: int | None, info: ValidationInfo) -> int | None:
        n_images, objective = info.data.get("n_images", 0), info.data.get("objective")
        if control_images is not None and control_images < n_images:
            raise ValueError(f"got {control_images}, expected at least quality.n_images, which is {n_images}")
        if control_images is not None and objective not in FRECHET:
            raise ValueError(
                f"control variates are for FID, and the objective is {objective}; leave control_images out"
            )
        return control_images

    @model_validator(mode="after")
    def _can_be_scored(self) -> "QualityConfig":
        names = self.all_metrics
        if "perceptual" in names and self.extractor != "fashion-cnn":
            raise ValueError(
                f"perceptual compares layers of fashion-cnn, and the extractor is {self.extractor!r:.60}; take "
                "lpips for other images"
            )
        if "lpips" in names and self.lpips_weights is None:
            raise ValueError("lpips_weights is missing: LPIPS needs a file; psnr and ssim need none")
        if "hps_v2" in names and self.hps_weights is None:
            raise ValueError("hps_weights is missing: HPS v2 needs a file; clip_score and pick_score take other models")
        for name, extractor in EXTRACTOR_OF.items():
            if name in names and not self.extractor.startswith(extractor):
                raise ValueError(f"{name} looks with {extractor}, and the extractor is {self.extractor!r:.60}")
        if self.guard and self.guard.reference == "anchor" and self.guard.metric in PAIRED:
            raise ValueError("guard.reference: anchor is for metrics of sets; a paired metric compares with it anyway")
        return self

    @property
    def comparing(self) -> tuple[MetricName, ...]:
        """The metrics that compare with `reference`."""
        guarded = (self.guard.metric,) if self.guard and self.guard.reference == "study" else ()
        return tuple(name for name in (self.objective, *self.metrics, *guarded) if name in COMPARING)

    @property
    def from_reference(self) -> tuple[MetricName, ...]:
        """The metrics that are bound to the study's reference: all but a guard that compares with the anchor."""
        guard = (self.guard.metric,) if self.guard and self.guard.reference == "study" else ()
        return tuple(dict.fromkeys((self.objective, *self.metrics, *guard)))

    @property
    def all_metrics(self) -> tuple[MetricName, ...]:
        """The objective, the further metrics and the guard, each once."""
        guard = (self.guard.metric,) if self.guard else ()
        return tuple(dict.fromkeys((self.objective, *self.metrics, *guard)))

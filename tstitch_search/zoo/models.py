"""The networks of the embedded family: shapes only, no weights. Small on purpose: the package ships them."""

from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel, ModelMixin, UNet2DModel

from tstitch_search.zoo.data import N_CLASSES, RESOLUTION

LATENT_CHANNELS = 4
LATENT_SIZE = RESOLUTION // 4
# The label that stands for "no label" in classifier-free guidance; DiTPipeline's own is 1000 (ImageNet).
NULL_CLASS = N_CLASSES

# name -> (width, layers, heads); the UNet member is listed apart because it has another shape.
DIT_SIZES = {"S": (32, 2, 1), "B": (64, 3, 2), "XL": (192, 9, 6)}
MEMBERS = ("S", "B", "U", "XL")


def new_vae() -> AutoencoderKL:
    """Autoencoder (n, 1, 32, 32) in [-1, 1] <-> (n, 4, 8, 8); 0.5 M parameters."""
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=RESOLUTION,
        mid_block_add_attention=False,
    )


def new_denoiser(name: str) -> ModelMixin:
    """The untrained member `name`: a DiT (Peebles & Xie, arXiv 2212.09748) for S, B, XL, a U-Net for U."""
    if name == "U":
        return UNet2DModel(
            sample_size=LATENT_SIZE,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=(64, 96),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            attention_head_dim=32,
            num_class_embeds=NULL_CLASS + 1,
        )
    width, layers, heads = DIT_SIZES[name]
    return DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        num_layers=layers,
        sample_size=LATENT_SIZE,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_embeds_ada_norm=N_CLASSES,
    )


def new_scheduler() -> DDIMScheduler:
    """The family's noise process: cosine schedule, 1,000 timesteps, velocity prediction, DDIM from the noise end."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    )

"""Tiny stock pipelines of random weights in memory, without text encoders: their prompts are embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch

from tstitch_search.sampling.pipeline_class import set_guiders


@dataclass(frozen=True)
class Tiny:
    """`build(denoiser)` makes the pipeline; `scale` is what it calls its guidance, which is off at `off`.

    A `guider` is no argument of the call: it has the scale.
    """

    denoiser: torch.nn.Module
    build: Callable[[Any], Any]
    inputs: dict[str, Any]
    scale: str = "guidance_scale"
    off: float = 1.0

    def pipeline(self, denoiser: torch.nn.Module) -> Any:
        made = self.build(denoiser)
        made.set_progress_bar_config(disable=True)
        return made


def draw(tiny: Tiny, pipeline: Any, n_steps: int, **options: Any) -> torch.Tensor:
    """Latents of a fixed seed."""
    if tiny.scale == "guider":
        set_guiders(pipeline, guidance_scale=options.pop("guider"))
    made = pipeline(
        **{**tiny.inputs, **options},
        num_inference_steps=n_steps,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    )
    return made[0]


def embeddings() -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return lambda *shape: torch.randn(*shape, generator=generator)


def new(kind: str, **config: Any) -> Any:
    torch.manual_seed(1)
    return getattr(diffusers, kind)(**config).eval()


def new_vae(latent_channels: int) -> Any:
    return new(
        "AutoencoderKL",
        sample_size=32,
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )


ONE_BLOCK: dict[str, Any] = {
    "block_out_channels": (4,),
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "layers_per_block": 1,
    "norm_num_groups": 1,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


def sd3() -> Tiny:
    text = embeddings()
    parts = {f"{part}{end}": None for part in ("text_encoder", "tokenizer") for end in ("", "_2", "_3")}
    return Tiny(
        new(
            "SD3Transformer2DModel",
            sample_size=8,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=32,
            pooled_projection_dim=64,
        ),
        lambda denoiser: diffusers.StableDiffusion3Pipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new_vae(4),
            **parts,
        ),
        {
            "prompt_embeds": text(2, 7, 32),
            "negative_prompt_embeds": text(2, 7, 32),
            "pooled_prompt_embeds": text(2, 64),
            "negative_pooled_prompt_embeds": text(2, 64),
            "height": 8,
            "width": 8,
        },
    )


def flux() -> Tiny:
    text = embeddings()
    return Tiny(
        new(
            "FluxTransformer2DModel",
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
            guidance_embeds=True,
        ),
        lambda denoiser: diffusers.FluxPipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new_vae(1),
            text_encoder=None,
            text_encoder_2=None,
            tokenizer=None,
            tokenizer_2=None,
        ),
        {"prompt_embeds": text(2, 7, 32), "pooled_prompt_embeds": text(2, 32), "height": 16, "width": 16},
    )


def qwen_image() -> Tiny:
    text, mask = embeddings(), torch.ones(1, 7, dtype=torch.long)
    return Tiny(
        new(
            "QwenImageTransformer2DModel",
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=16,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ),
        lambda denoiser: diffusers.QwenImagePipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new(
                "AutoencoderKLQwenImage",
                base_dim=24,
                z_dim=4,
                dim_mult=[1, 2, 4],
                num_res_blocks=1,
                temperal_downsample=[False, True],
                latents_mean=[0.0] * 4,
                latents_std=[1.0] * 4,
            ),
            text_encoder=None,
            tokenizer=None,
        ),
        {
            "prompt_embeds": text(1, 7, 16),
            "prompt_embeds_mask": mask,
            "negative_prompt_embeds": text(1, 7, 16),
            "negative_prompt_embeds_mask": mask,
            "height": 32,
            "width": 32,
        },
        scale="true_cfg_scale",
    )


def wan() -> Tiny:
    text = embeddings()
    return Tiny(
        new(
            "WanTransformer3DModel",
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=16,
            out_channels=16,
            text_dim=32,
            freq_dim=256,
            ffn_dim=32,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        ),
        lambda denoiser: diffusers.WanPipeline(
            transformer=denoiser,
            transformer_2=None,
            boundary_ratio=None,
            scheduler=diffusers.UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
            vae=new(
                "AutoencoderKLWan",
                base_dim=3,
                z_dim=16,
                dim_mult=[1, 1, 1, 1],
                num_res_blocks=1,
                temperal_downsample=[False, True, True],
            ),
            text_encoder=None,
            tokenizer=None,
        ),
        {
            "prompt_embeds": text(1, 7, 32),
            "negative_prompt_embeds": text(1, 7, 32),
            "height": 16,
            "width": 16,
            "num_frames": 9,
            "max_sequence_length": 16,
        },
    )


def cogvideox() -> Tiny:
    text = embeddings()
    return Tiny(
        new(
            "CogVideoXTransformer3DModel",
            num_attention_heads=4,
            attention_head_dim=8,
            in_channels=4,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=32,
            num_layers=2,
            sample_width=2,
            sample_height=2,
            sample_frames=9,
            patch_size=2,
            temporal_compression_ratio=4,
            max_text_seq_length=16,
        ),
        lambda denoiser: diffusers.CogVideoXPipeline(
            transformer=denoiser,
            scheduler=diffusers.CogVideoXDDIMScheduler(),
            vae=new(
                "AutoencoderKLCogVideoX",
                down_block_types=("CogVideoXDownBlock3D",) * 4,
                up_block_types=("CogVideoXUpBlock3D",) * 4,
                block_out_channels=(8, 8, 8, 8),
                latent_channels=4,
                layers_per_block=1,
                norm_num_groups=2,
                temporal_compression_ratio=4,
            ),
            text_encoder=None,
            tokenizer=None,
        ),
        {
            "prompt_embeds": text(1, 16, 32),
            "negative_prompt_embeds": text(1, 16, 32),
            "height": 16,
            "width": 16,
            "num_frames": 9,
        },
    )


def pixart() -> Tiny:
    text = embeddings()
    return Tiny(
        new(
            "PixArtTransformer2DModel",
            sample_size=8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=32,
            in_channels=4,
            cross_attention_dim=24,
            out_channels=8,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
        ),
        lambda denoiser: diffusers.PixArtSigmaPipeline(
            transformer=denoiser,
            scheduler=diffusers.DPMSolverMultistepScheduler(),
            vae=new_vae(4),
            text_encoder=None,
            tokenizer=None,
        ),
        {
            "prompt": None,
            "negative_prompt": None,
            "prompt_embeds": text(1, 7, 32),
            "prompt_attention_mask": torch.ones(1, 7),
            "negative_prompt_embeds": text(1, 7, 32),
            "negative_prompt_attention_mask": torch.ones(1, 7),
            "height": 8,
            "width": 8,
            "use_resolution_binning": False,
        },
    )


def ltx() -> Tiny:
    text, mask = embeddings(), torch.ones(1, 7)
    return Tiny(
        new(
            "LTXVideoTransformer3DModel",
            in_channels=8,
            out_channels=8,
            patch_size=1,
            patch_size_t=1,
            num_attention_heads=4,
            attention_head_dim=8,
            num_layers=2,
            cross_attention_dim=32,
            caption_channels=32,
        ),
        lambda denoiser: diffusers.LTXPipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new(
                "AutoencoderKLLTXVideo",
                latent_channels=8,
                block_out_channels=(8, 8, 8, 8),
                decoder_block_out_channels=(8, 8, 8, 8),
                layers_per_block=(1, 1, 1, 1, 1),
                decoder_layers_per_block=(1, 1, 1, 1, 1),
                spatio_temporal_scaling=(True, True, False, False),
                decoder_spatio_temporal_scaling=(True, True, False, False),
                decoder_inject_noise=(False,) * 5,
                upsample_residual=(False,) * 4,
                upsample_factor=(1,) * 4,
                timestep_conditioning=False,
                patch_size=1,
                patch_size_t=1,
                encoder_causal=True,
                decoder_causal=False,
            ),
            text_encoder=None,
            tokenizer=None,
        ),
        {
            "prompt_embeds": text(1, 7, 32),
            "prompt_attention_mask": mask,
            "negative_prompt_embeds": text(1, 7, 32),
            "negative_prompt_attention_mask": mask,
            "height": 32,
            "width": 32,
            "num_frames": 9,
        },
    )


def z_image() -> Tiny:
    text = embeddings()
    return Tiny(
        new(
            "ZImageTransformer2DModel",
            in_channels=16,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[4, 6, 6],
            axes_lens=[128, 32, 32],
        ),
        lambda denoiser: diffusers.ZImagePipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new_vae(16),
            text_encoder=None,
            tokenizer=None,
        ),
        {"prompt_embeds": [text(7, 16)], "negative_prompt_embeds": [text(5, 16)], "height": 16, "width": 16},
        off=0.0,
    )


def flux2_klein() -> Tiny:
    text = embeddings()
    return Tiny(
        new(
            "Flux2Transformer2DModel",
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        lambda denoiser: diffusers.Flux2KleinPipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new("AutoencoderKLFlux2", latent_channels=4, **ONE_BLOCK),
            text_encoder=None,
            tokenizer=None,
        ),
        {"prompt_embeds": text(1, 7, 32), "negative_prompt_embeds": text(1, 7, 32), "height": 16, "width": 16},
    )


def kandinsky5() -> Tiny:
    text, lengths = embeddings(), torch.tensor([0, 7], dtype=torch.int32)
    denoiser = new(
        "Kandinsky5Transformer3DModel",
        in_visual_dim=4,
        out_visual_dim=4,
        in_text_dim=32,
        in_text_dim2=32,
        time_dim=16,
        model_dim=32,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(4, 6, 6),
    )
    for parameter in denoiser.parameters():  # modulation begins at zero
        parameter.data += 0.05 * text(*parameter.shape)
    return Tiny(
        denoiser,
        lambda denoiser: diffusers.Kandinsky5T2VPipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new(
                "AutoencoderKLHunyuanVideo",
                latent_channels=4,
                block_out_channels=(4, 4, 4, 4),
                layers_per_block=1,
                norm_num_groups=2,
                mid_block_add_attention=False,
            ),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
        ),
        {
            **{f"{half}prompt_embeds_qwen": text(1, 7, 32) for half in ("", "negative_")},
            **{f"{half}prompt_embeds_clip": text(1, 32) for half in ("", "negative_")},
            **{f"{half}prompt_cu_seqlens": lengths for half in ("", "negative_")},
            "height": 32,
            "width": 32,
            "num_frames": 5,
        },
    )


def hunyuan_video15() -> Tiny:
    text, mask = embeddings(), torch.ones(1, 7)

    def build(denoiser: Any) -> Any:
        made = diffusers.HunyuanVideo15Pipeline(
            transformer=denoiser,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=new(
                "AutoencoderKLHunyuanVideo15",
                latent_channels=4,
                block_out_channels=(16, 16),
                layers_per_block=1,
                spatial_compression_ratio=4,
                temporal_compression_ratio=2,
                downsample_match_channel=False,
                upsample_match_channel=False,
            ),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            guider=diffusers.ClassifierFreeGuidance(),
        )
        made.vision_num_semantic_tokens = 4
        return made

    halves = ("", "negative_")
    return Tiny(
        new(
            "HunyuanVideo15Transformer3DModel",
            in_channels=9,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_refiner_layers=1,
            text_embed_dim=32,
            text_embed_2_dim=32,
            image_embed_dim=12,
            rope_axes_dim=(2, 2, 4),
            task_type="t2v",
        ),
        build,
        {
            **{f"{half}prompt_embeds{end}": text(1, 7, 32) for half in halves for end in ("", "_2")},
            **{f"{half}prompt_embeds_mask{end}": mask for half in halves for end in ("", "_2")},
            "height": 16,
            "width": 16,
            "num_frames": 5,
        },
        scale="guider",
    )


# By class of the pipeline.
TINY: dict[str, Callable[[], Tiny]] = {
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "QwenImagePipeline": qwen_image,
    "WanPipeline": wan,
    "CogVideoXPipeline": cogvideox,
    "PixArtSigmaPipeline": pixart,
    "LTXPipeline": ltx,
    "ZImagePipeline": z_image,
    "Flux2KleinPipeline": flux2_klein,
    "Kandinsky5T2VPipeline": kandinsky5,
    "HunyuanVideo15Pipeline": hunyuan_video15,
}

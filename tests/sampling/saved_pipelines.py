"""Tiny pipelines for images and video, each a whole folder as diffusers saves it, with members beside it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers as d
import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from sampling.tiny_families import save_sana
from text_to_image import letter_tokenizer, save_sdxl, save_sdxl_controlnet, save_stable_diffusion
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLTextModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

# Of a pipeline with prompts, beside it.
STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: 3
proxy_set: {prompts: prompts.txt}
quality: {objective: inception_score, n_images: 20}
confirm: {n_images: 20}
workers: {device: cpu}
"""

WIDTH = 32
FLOW = d.FlowMatchEulerDiscreteScheduler
SPACE = """\
name: tiny
pipeline: .
call: {call}
denoisers: [{{name: S, weights: S}}, {{name: B, weights: B}}, {{name: L, weights: L}}]
n_steps: 4
"""


def new_vae(channels: int, levels: int = 1) -> d.AutoencoderKL:
    torch.manual_seed(0)
    return d.AutoencoderKL(
        sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(4,) * levels,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )


def t5(kind: Any = T5EncoderModel, config: Any = T5Config, width: int = WIDTH) -> Any:
    torch.manual_seed(7)
    sizes = {"d_model": width, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return kind(config(vocab_size=len(letter_tokenizer()), initializer_factor=5.0, **sizes))


def clip(kind: Any, n_positions: int = 12) -> Any:
    words = letter_tokenizer()
    torch.manual_seed(7)
    return kind(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=WIDTH,
            max_position_embeddings=n_positions,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
            initializer_factor=5.0,
        )
    )


def decoder(kind: Any, config: Any, n_layers: int = 3) -> Any:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    words = letter_tokenizer()
    torch.manual_seed(7)
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id}
    return kind(config(num_hidden_layers=n_layers, head_dim=8, initializer_range=1.0, **ids, **sizes))


def chat_tokenizer() -> Any:
    words = letter_tokenizer()
    words.chat_template = "{{ messages[0]['content'] }}"
    return words


def sd3() -> tuple[Any, Callable[[int], Any]]:
    sizes = {"sample_size": 8, "patch_size": 1, "in_channels": 4, "out_channels": 4, "attention_head_dim": 8}
    widths = {"caption_projection_dim": 32, "joint_attention_dim": 2 * WIDTH, "pooled_projection_dim": 2 * WIDTH}
    parts = {
        "text_encoder": clip(CLIPTextModelWithProjection),
        "text_encoder_2": clip(CLIPTextModelWithProjection),
        "text_encoder_3": t5(width=2 * WIDTH),
        **{name: letter_tokenizer() for name in ("tokenizer", "tokenizer_2", "tokenizer_3")},
    }
    parts |= {"vae": new_vae(4), "scheduler": FLOW(shift=3.0)}
    return d.StableDiffusion3Pipeline, lambda n: (
        parts,
        d.SD3Transformer2DModel(**sizes, **widths, num_attention_heads=4, num_layers=n),
    )


def flux() -> tuple[Any, Callable[[int], Any]]:
    sizes = {"patch_size": 1, "in_channels": 16, "attention_head_dim": 16, "num_attention_heads": 2}
    widths = {"joint_attention_dim": WIDTH, "pooled_projection_dim": WIDTH, "axes_dims_rope": [4, 4, 8]}
    parts = {
        "text_encoder": clip(CLIPTextModel),
        "text_encoder_2": t5(),
        "tokenizer": letter_tokenizer(),
        "tokenizer_2": letter_tokenizer(),
        "vae": new_vae(4),
        "scheduler": FLOW(use_dynamic_shifting=True),
    }
    return d.FluxPipeline, lambda n: (
        parts,
        d.FluxTransformer2DModel(**sizes, **widths, num_single_layers=1, num_layers=n, guidance_embeds=True),
    )


def chroma() -> tuple[Any, Callable[[int], Any]]:
    sizes = {"patch_size": 1, "in_channels": 16, "attention_head_dim": 16, "num_attention_heads": 2}
    own = {"approximator_hidden_dim": 32, "approximator_layers": 1, "approximator_num_channels": 64}
    parts = {"text_encoder": t5(), "tokenizer": letter_tokenizer(), "vae": new_vae(4), "scheduler": FLOW()}
    return d.ChromaPipeline, lambda n: (
        parts,
        d.ChromaTransformer2DModel(
            **sizes, **own, joint_attention_dim=WIDTH, axes_dims_rope=[4, 4, 8], num_single_layers=1, num_layers=n
        ),
    )


def pixart_sigma() -> tuple[Any, Callable[[int], Any]]:
    sizes = {"sample_size": 8, "patch_size": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 8}
    parts = {"text_encoder": t5(), "tokenizer": letter_tokenizer(), "vae": new_vae(4)}
    parts["scheduler"] = d.DPMSolverMultistepScheduler()
    return d.PixArtSigmaPipeline, lambda n: (
        parts,
        d.PixArtTransformer2DModel(
            **sizes, num_attention_heads=3, caption_channels=WIDTH, cross_attention_dim=24, num_layers=n
        ),
    )


def aura_flow() -> tuple[Any, Callable[[int], Any]]:
    sizes = {"sample_size": 8, "patch_size": 1, "in_channels": 4, "out_channels": 4, "attention_head_dim": 8}
    widths = {"joint_attention_dim": WIDTH, "caption_projection_dim": 32, "pos_embed_max_size": 256}
    parts = {"text_encoder": t5(UMT5EncoderModel, UMT5Config), "tokenizer": letter_tokenizer(), "vae": new_vae(4)}
    parts["scheduler"] = FLOW()
    return d.AuraFlowPipeline, lambda n: (
        parts,
        d.AuraFlowTransformer2DModel(
            **sizes, **widths, num_attention_heads=4, num_mmdit_layers=1, num_single_dit_layers=n
        ),
    )


def lumina2() -> tuple[Any, Callable[[int], Any]]:
    parts = {"text_encoder": decoder(Gemma2Model, Gemma2Config), "tokenizer": letter_tokenizer(), "vae": new_vae(4, 4)}
    parts["scheduler"] = FLOW()
    own = {"axes_dim_rope": (4, 2, 2), "axes_lens": (300, 128, 128), "scaling_factor": 1.0, "multiple_of": 16}
    return d.Lumina2Pipeline, lambda n: (
        parts,
        d.Lumina2Transformer2DModel(
            **own,
            sample_size=4,
            patch_size=2,
            in_channels=4,
            hidden_size=24,
            num_layers=n,
            num_refiner_layers=1,
            num_attention_heads=3,
            num_kv_heads=1,
            cap_feat_dim=WIDTH,
        ),
    )


def z_image() -> tuple[Any, Callable[[int], Any]]:
    parts = {"text_encoder": decoder(Qwen3Model, Qwen3Config), "tokenizer": chat_tokenizer(), "vae": new_vae(4)}
    parts["scheduler"] = FLOW(shift=3.0)
    own = {"axes_dims": [8, 4, 4], "axes_lens": [256, 32, 32], "all_patch_size": (2,), "all_f_patch_size": (1,)}
    return d.ZImagePipeline, lambda n: (
        parts,
        d.ZImageTransformer2DModel(
            **own,
            in_channels=4,
            dim=32,
            n_layers=n,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
        ),
    )


def qwen_vision(kind: Any) -> Any:
    words = letter_tokenizer()
    text = {"hidden_size": WIDTH, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    text |= {"num_hidden_layers": 2, "vocab_size": len(words), "initializer_range": 1.0}
    rope = {"rope_type": "default", "type": "default", "mrope_section": [2, 3, 3]}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}
    torch.manual_seed(7)
    config = Qwen2_5_VLConfig(text_config={**text, "rope_scaling": rope}, vision_config=vision)
    return kind(config.text_config if kind is Qwen2_5_VLTextModel else config)


def qwen_image() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    parts = {"text_encoder": qwen_vision(Qwen2_5_VLForConditionalGeneration), "tokenizer": letter_tokenizer()}
    parts |= {"vae": vae, "scheduler": FLOW()}
    sizes = {"patch_size": 2, "in_channels": 16, "out_channels": 4, "attention_head_dim": 16, "num_attention_heads": 3}
    return d.QwenImagePipeline, lambda n: (
        parts,
        d.QwenImageTransformer2DModel(
            **sizes, joint_attention_dim=WIDTH, guidance_embeds=False, axes_dims_rope=(8, 4, 4), num_layers=n
        ),
    )


def flux2_klein() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLFlux2(
        sample_size=32,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    encoder = decoder(Qwen3ForCausalLM, Qwen3Config, n_layers=28)  # the pipeline reads layers 9, 18 and 27
    parts = {"text_encoder": encoder, "tokenizer": chat_tokenizer(), "vae": vae, "scheduler": FLOW()}
    sizes = {"patch_size": 1, "in_channels": 16, "attention_head_dim": 16, "num_attention_heads": 2}
    return d.Flux2KleinPipeline, lambda n: (
        parts,
        d.Flux2Transformer2DModel(
            **sizes,
            joint_attention_dim=3 * WIDTH,
            axes_dims_rope=(4, 4, 4, 4),
            num_single_layers=1,
            num_layers=n,
            guidance_embeds=False,
        ),
    )


def mochi() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLMochi(
        latent_channels=12,
        out_channels=3,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    parts = {"text_encoder": t5(), "tokenizer": letter_tokenizer(), "vae": vae}
    parts["scheduler"] = FLOW(num_train_timesteps=1000, invert_sigmas=True)
    sizes = {"patch_size": 2, "num_attention_heads": 2, "attention_head_dim": 8, "pooled_projection_dim": 16}
    return d.MochiPipeline, lambda n: (
        parts,
        d.MochiTransformer3DModel(
            **sizes, in_channels=12, text_embed_dim=WIDTH, time_embed_dim=4, max_sequence_length=16, num_layers=n
        ),
    )


def wan(**experts: Any) -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    solver = d.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    parts = {"text_encoder": t5(UMT5EncoderModel, UMT5Config), "tokenizer": letter_tokenizer()}
    parts |= {"vae": vae, "scheduler": solver}
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 16, "out_channels": 16, "ffn_dim": 32}
    return d.WanPipeline, lambda n: (
        {**parts, **experts},
        d.WanTransformer3DModel(
            **sizes, patch_size=(1, 2, 2), text_dim=WIDTH, freq_dim=16, num_layers=n, rope_max_seq_len=32
        ),
    )


def wan22() -> tuple[Any, Callable[[int], Any]]:
    kind, make = wan(boundary_ratio=0.9)

    def with_second(n: int) -> Any:
        parts, transformer = make(n)
        return {**parts, "transformer_2": transformer}, transformer

    return kind, with_second


def cogvideox(kind: Any = d.CogVideoXPipeline, in_channels: int = 4) -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    parts = {"text_encoder": t5(), "tokenizer": letter_tokenizer(), "vae": vae}
    parts["scheduler"] = d.CogVideoXDDIMScheduler()
    sizes = {"sample_width": 2, "sample_height": 2, "sample_frames": 9, "patch_size": 2, "max_text_seq_length": 16}
    return kind, lambda n: (
        parts,
        d.CogVideoXTransformer3DModel(
            **sizes,
            num_attention_heads=4,
            attention_head_dim=8,
            in_channels=in_channels,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=WIDTH,
            num_layers=n,
            temporal_compression_ratio=4,
        ),
    )


def cogvideox_from_image() -> tuple[Any, Callable[[int], Any]]:
    """Beside the noisy latents those of the first frame."""
    return cogvideox(d.CogVideoXImageToVideoPipeline, in_channels=2 * 4)


def ltx() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLLTXVideo(
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
    )
    parts = {"text_encoder": t5(), "tokenizer": letter_tokenizer(), "vae": vae, "scheduler": FLOW()}
    sizes = {"in_channels": 8, "out_channels": 8, "patch_size": 1, "patch_size_t": 1, "attention_head_dim": 8}
    return d.LTXPipeline, lambda n: (
        parts,
        d.LTXVideoTransformer3DModel(
            **sizes, num_attention_heads=4, cross_attention_dim=32, caption_channels=WIDTH, num_layers=n
        ),
    )


def hunyuan_image() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32),
        layers_per_block=1,
        spatial_compression_ratio=2,
        sample_size=16,
        scaling_factor=0.75,
    )
    guiders = {
        "guider": d.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=1),
        "ocr_guider": d.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=2),
    }
    parts = {"text_encoder": qwen_vision(Qwen2_5_VLForConditionalGeneration), "tokenizer": letter_tokenizer()}
    parts |= {"text_encoder_2": t5(), "tokenizer_2": letter_tokenizer(), "vae": vae, "scheduler": FLOW(shift=5.0)}
    sizes = {"in_channels": 4, "out_channels": 4, "attention_head_dim": 8, "num_attention_heads": 2}
    return d.HunyuanImagePipeline, lambda n: (
        {**parts, **guiders},
        d.HunyuanImageTransformer2DModel(
            **sizes,
            text_embed_dim=WIDTH,
            text_embed_2_dim=WIDTH,
            num_refiner_layers=1,
            num_single_layers=1,
            rope_axes_dim=(4, 4),
            num_layers=n,
        ),
    )


def hunyuan_video15() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLHunyuanVideo15(
        latent_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        spatial_compression_ratio=4,
        temporal_compression_ratio=2,
        downsample_match_channel=False,
        upsample_match_channel=False,
    )
    words = letter_tokenizer()
    words.chat_template = "{{ 'x' * 107 }}{{ messages[1]['content'] }}"  # the pipeline leaves out 108 tokens
    parts = {"text_encoder": qwen_vision(Qwen2_5_VLTextModel), "tokenizer": words, "text_encoder_2": t5()}
    parts |= {"tokenizer_2": letter_tokenizer(), "vae": vae, "scheduler": FLOW(shift=7.0)}
    parts |= {"guider": d.ClassifierFreeGuidance()}
    sizes = {"in_channels": 9, "out_channels": 4, "attention_head_dim": 8, "num_attention_heads": 2}
    return d.HunyuanVideo15Pipeline, lambda n: (
        parts,
        d.HunyuanVideo15Transformer3DModel(
            **sizes,
            text_embed_dim=WIDTH,
            text_embed_2_dim=WIDTH,
            image_embed_dim=12,
            num_refiner_layers=1,
            rope_axes_dim=(2, 2, 4),
            target_size=16,
            task_type="t2v",
            num_layers=n,
        ),
    )


def kandinsky5() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    vae = d.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        mid_block_add_attention=False,
    )
    parts = {"text_encoder": qwen_vision(Qwen2_5_VLForConditionalGeneration), "tokenizer": letter_tokenizer()}
    parts |= {"text_encoder_2": clip(CLIPTextModel, n_positions=77), "tokenizer_2": letter_tokenizer()}
    parts |= {"vae": vae, "scheduler": FLOW(shift=5.0)}
    sizes = {"in_visual_dim": 4, "out_visual_dim": 4, "in_text_dim": WIDTH, "in_text_dim2": WIDTH, "time_dim": 16}
    return d.Kandinsky5T2VPipeline, lambda n: (
        parts,
        d.Kandinsky5Transformer3DModel(
            **sizes, model_dim=32, ff_dim=32, num_text_blocks=1, axes_dims=(4, 6, 6), num_visual_blocks=n
        ),
    )


def ltx2() -> tuple[Any, Callable[[int], Any]]:
    torch.manual_seed(0)
    words = letter_tokenizer()
    text = {"hidden_size": WIDTH, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    text |= {"num_hidden_layers": 2, "head_dim": 16, "vocab_size": len(words), "initializer_range": 1.0}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    encoder = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=text, vision_config={**vision, "image_size": 8, "patch_size": 4}, mm_tokens_per_image=4
        )
    )
    vae = d.AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        layers_per_block=(1,),
        decoder_layers_per_block=(1, 1),
        spatio_temporal_scaling=(True,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False),
        down_block_types=("LTX2VideoDownBlock3D",),
        downsample_type=("spatial",),
        upsample_residual=(False,),
        upsample_factor=(1,),
        patch_size=4,
        patch_size_t=1,
        decoder_causal=False,
    )
    audio_vae = d.AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=8
    )
    connector = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 1, "num_learnable_registers": None}
    connectors = LTX2TextConnectors(
        caption_channels=WIDTH,
        text_proj_in_factor=3,
        rope_type="split",
        rope_double_precision=False,
        connector_rope_base_seq_len=32,
        **{f"{kind}_connector_{key}": value for kind in ("video", "audio") for key, value in connector.items()},
    )
    vocoder = LTX2Vocoder(
        in_channels=16,
        hidden_channels=8,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1]],
    )
    parts = {"text_encoder": encoder, "tokenizer": words, "vae": vae, "audio_vae": audio_vae}
    parts |= {"connectors": connectors, "vocoder": vocoder, "scheduler": FLOW(use_dynamic_shifting=True)}
    sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "cross_attention_dim": 16}
    audio = {"num_attention_heads": 2, "attention_head_dim": 4, "cross_attention_dim": 8}
    audio |= {"in_channels": 4, "out_channels": 4}
    return d.LTX2Pipeline, lambda n: (
        parts,
        d.LTX2VideoTransformer3DModel(
            **sizes,
            **{f"audio_{key}": value for key, value in audio.items()},
            in_channels=4,
            out_channels=4,
            caption_channels=WIDTH,
            rope_type="split",
            rope_double_precision=False,
            num_layers=n,
        ),
    )


SIZE = {"height": 16, "width": 16}
T5_LENGTH = {"max_sequence_length": 16}
# By name: how its parts and a transformer of n layers are built, and the `call` of its space.
BUILT: dict[str, tuple[Callable[[], Any], Mapping[str, Any]]] = {
    "sd3": (sd3, {"height": 8, "width": 8}),
    "flux": (flux, {**SIZE, **T5_LENGTH}),
    "chroma": (chroma, {**SIZE, **T5_LENGTH}),
    "pixart_sigma": (pixart_sigma, T5_LENGTH),
    "aura_flow": (aura_flow, {"height": 8, "width": 8, **T5_LENGTH}),
    "lumina2": (lumina2, {"height": 32, "width": 32}),
    "z_image": (z_image, {**SIZE, **T5_LENGTH}),
    "qwen_image": (qwen_image, {"height": 32, "width": 32, **T5_LENGTH}),
    "flux2_klein": (flux2_klein, {**SIZE, **T5_LENGTH}),
    "mochi": (mochi, {**SIZE, **T5_LENGTH, "num_frames": 7}),
    "wan": (wan, {**SIZE, **T5_LENGTH, "num_frames": 5}),
    "wan22": (wan22, {**SIZE, **T5_LENGTH, "num_frames": 5}),
    "cogvideox": (cogvideox, {**SIZE, **T5_LENGTH, "num_frames": 5}),
    "ltx": (ltx, {"height": 32, "width": 32, **T5_LENGTH, "num_frames": 9}),
    "hunyuan_image": (hunyuan_image, SIZE),
    "hunyuan_video15": (hunyuan_video15, {**SIZE, "num_frames": 5}),
    "kandinsky5": (kandinsky5, {"height": 32, "width": 32, **T5_LENGTH, "num_frames": 5}),
    "ltx2": (ltx2, {"height": 32, "width": 32, **T5_LENGTH, "num_frames": 5}),
}
# What some pipelines fix for their real text encoders: lengths that would take seconds, templates of many letters.
SHORTENED: dict[str, Mapping[str, Any]] = {
    "hunyuan_image": {
        "prompt_template_encode": "{}",
        "prompt_template_encode_start_idx": 0,
        "tokenizer_max_length": 16,
        "tokenizer_2_max_length": 4,
    },
    "hunyuan_video15": {"tokenizer_max_length": 16, "tokenizer_2_max_length": 4, "vision_num_semantic_tokens": 4},
    "kandinsky5": {"prompt_template": "{}", "prompt_template_encode_start_idx": 0},
}
# Those that begin with an image.
FROM_IMAGE = {"cogvideox_from_image": (cogvideox_from_image, BUILT["cogvideox"][1])}
SAVED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "stable_diffusion": (save_stable_diffusion, "StableDiffusionPipeline"),
    "sdxl": (save_sdxl, "StableDiffusionXLPipeline"),
    "sdxl_controlnet": (save_sdxl_controlnet, "StableDiffusionXLPipeline"),
    "sana": (save_sana, "SanaPipeline"),
}
NAMES = (*BUILT, *SAVED)
SLOW = ("flux2_klein", "mochi", "hunyuan_image", "hunyuan_video15", "ltx2")


def save_pipeline(name: str, folder: Path) -> Path:
    """The pipeline's folder with members S, B and L of one, two and three layers; its space.yaml names no family."""
    if name in SAVED:
        save, kind = SAVED[name]
        save(folder)
        index = folder / "model_index.json"
        index.write_text(json.dumps({"_class_name": kind, **json.loads(index.read_text())}))
        space = (folder / "space.yaml").read_text()
        solver = "solver: DDIMScheduler\n" if name == "stable_diffusion" else ""  # PNDM repeats a timestep
        (folder / "space.yaml").write_text(space.replace(f"family: {name}\n", solver))
        return folder
    build, call = {**BUILT, **FROM_IMAGE}[name]
    kind, make = build()
    for n, member in enumerate("SBL", start=1):
        torch.manual_seed(n)
        parts, transformer = make(n)
        random = torch.Generator().manual_seed(n)
        for parameter in transformer.parameters():  # some layers begin at zero
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=random)
        transformer.eval().save_pretrained(folder / member)
    kind(**parts, transformer=transformer).save_pretrained(folder)
    (folder / "space.yaml").write_text(SPACE.format(call=json.dumps(dict(call))))
    return folder


# Up to where the published denoisers know positions, by the tiny pipeline of their class.
POSITIONS: dict[str, dict[str, Any]] = {
    "sd3": {"pos_embed_max_size": 8 * 2 * 192},  # the tiny VAE's latents are pixels, and patches are latents
    "z_image": {"axes_lens": [1536, 512, 512]},
    "wan": {"rope_max_seq_len": 1024},
    "wan22": {"rope_max_seq_len": 1024},
    "cogvideox": {"max_text_seq_length": 226},
}


def know_positions(name: str, folder: Path) -> None:
    """Have the tiny denoisers say that they know as many positions as the published ones; they are not run so."""
    for config in (*folder.glob("[SBL]/config.json"), *folder.glob("transformer*/config.json")):
        config.write_text(json.dumps({**json.loads(config.read_text()), **POSITIONS.get(name, {})}))

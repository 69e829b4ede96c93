"""Tiny families of random weights on disk, beside the text-to-image ones: LDM and Sana."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderDC, DDIMScheduler, DPMSolverMultistepScheduler, SanaTransformer2DModel
from text_to_image import SPACE, letter_tokenizer
from transformers import Gemma2Config, Gemma2Model

from tstitch_search.members.formats.class_conditional import ClassConditionalUNet

SANA_WIDTH = 8
LDM_SPACE = """\
name: tiny
family: ldm
pipeline: .
n_classes: 10
denoisers: [{name: S, weights: S}, {name: M, weights: M}, {name: L, weights: L}]
n_steps: 4
"""


def save_ldm(folder: Path, vae: Path) -> Path:
    """Members of other widths: S and L as LDM is, without a null class; M with one. A copy of `vae`, and space.yaml."""
    for name, width, context, null_seed in (("S", 4, 6, 0), ("M", 8, 8, None), ("L", 12, 10, 1)):
        new_ldm_unet(width, context, null_seed).save_pretrained(folder / name)
    shutil.copytree(vae, folder / "vae")
    DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False).save_pretrained(
        folder / "scheduler"
    )
    (folder / "space.yaml").write_text(LDM_SPACE)
    return folder


def new_ldm_unet(width: int, context: int, null_seed: int | None) -> ClassConditionalUNet:
    torch.manual_seed(width)
    unet = {
        "block_out_channels": (width, width),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
        "cross_attention_dim": context,
    }
    n_embeds = 10 if null_seed is not None else 11
    return ClassConditionalUNet(unet, n_embeds, sample_size=8, null_seed=null_seed).eval()


def save_sana(folder: Path) -> Path:
    """Members S, B, L of other widths, DC-AE of 4x16x16 latents and 3x32x32 images, a flow solver, a Gemma 2."""
    for seed, (name, heads) in enumerate((("S", 1), ("B", 2), ("L", 3))):
        new_sana_transformer(seed, heads).save_pretrained(folder / name)
    torch.manual_seed(0)
    AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(4, 8),
        decoder_block_out_channels=(4, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.41407,
    ).save_pretrained(folder / "vae")
    DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    ).save_pretrained(folder / "scheduler")
    words = letter_tokenizer()
    words.save_pretrained(folder / "tokenizer")
    Gemma2Model(
        Gemma2Config(
            vocab_size=len(words),
            hidden_size=SANA_WIDTH,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            pad_token_id=words.pad_token_id,
            initializer_range=1.0,
        )
    ).save_pretrained(folder / "text_encoder")
    parts = {"text_encoder": "Gemma2Model", "tokenizer": "PreTrainedTokenizerFast"}
    (folder / "model_index.json").write_text(json.dumps({name: ["transformers", kind] for name, kind in parts.items()}))
    (folder / "space.yaml").write_text(SPACE.format(family="sana"))
    return folder


def new_sana_transformer(seed: int, heads: int) -> SanaTransformer2DModel:
    torch.manual_seed(seed)
    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=heads,
        attention_head_dim=4,
        num_layers=1,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=4,
        cross_attention_dim=4 * heads,
        caption_channels=SANA_WIDTH,
        sample_size=16,
    ).eval()

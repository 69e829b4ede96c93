"""Tiny text-to-image families of random weights on disk, saved as a user's own would be."""

import json
import string
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, EulerDiscreteScheduler, PNDMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerFast

START, END = "<|startoftext|>", "<|endoftext|>"
N_TOKENS = 12
ENCODER_WIDTH = 8
PROMPTS = ["a cat", "a red car in rain", "dog", "a green field", "two birds"]

SPACE = """\
name: tiny_{family}
family: {family}
pipeline: .
denoisers:
  - {{name: S, weights: S}}
  - {{name: B, weights: B}}
  - {{name: L, weights: L}}
n_steps: 4
grid: 1
"""


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """One token per letter, between a start and an end token."""
    vocabulary = {token: i for i, token in enumerate([*string.ascii_lowercase, "?", START, END])}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    ends = [(token, vocabulary[token]) for token in (START, END)]
    letters.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=letters,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token="?",
        model_max_length=N_TOKENS,
    )


def new_unet(seed: int, width: int, conditioning_width: int = ENCODER_WIDTH, **config: object) -> UNet2DConditionModel:
    """A text-conditional U-Net for 4x8x8 latents."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(width, width),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
        cross_attention_dim=conditioning_width,
        **config,
    ).eval()


def new_vae() -> AutoencoderKL:
    """A VAE of 4x8x8 latents and 3x32x32 images."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        sample_size=32,
        mid_block_add_attention=False,
    ).eval()


def save_stable_diffusion(folder: Path) -> Path:
    """A family in the shape of SD 1.x: members S, B, L, PNDM, one text encoder, and space.yaml."""
    for name, seed, width in (("S", 1, 4), ("B", 2, 8), ("L", 3, 12)):
        new_unet(seed, width).save_pretrained(folder / name)
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    ).save_pretrained(folder / "scheduler")
    _save_encoder(folder, "text_encoder", CLIPTextModel)
    _save_pipeline(folder, "stable_diffusion", {"text_encoder": "CLIPTextModel"})
    return folder


def save_sdxl(folder: Path, **config: object) -> Path:
    """A family in the shape of SDXL: members S, B, L, Euler, two text encoders, and space.yaml."""
    for name, seed, width in (("S", 1, 4), ("B", 2, 8), ("L", 3, 12)):
        new_sdxl_unet(seed, width, **config).save_pretrained(folder / name)
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    ).save_pretrained(folder / "scheduler")
    _save_encoder(folder, "text_encoder", CLIPTextModel)
    _save_encoder(folder, "text_encoder_2", CLIPTextModelWithProjection)
    encoders = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"}
    _save_pipeline(folder, "sdxl", encoders)
    return folder


def save_sdxl_controlnet(folder: Path) -> Path:
    """The same under a ControlNet: members of one width, as what it adds to them needs."""
    save_sdxl(folder)
    for name, seed in (("S", 1), ("B", 2), ("L", 3)):
        new_sdxl_unet(seed, 8).save_pretrained(folder / name)
    torch.manual_seed(4)
    controlnet = ControlNetModel.from_unet(new_sdxl_unet(4, 8), conditioning_embedding_out_channels=(4, 4, 8))
    for parameter in controlnet.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)  # its last layers begin at zero, and would add nothing
    controlnet.save_pretrained(folder / "controlnet")
    space = SPACE.format(family="sdxl_controlnet")
    (folder / "space.yaml").write_text(space.replace("pipeline: .", "pipeline: .\ncontrolnet: controlnet"))
    return folder


def new_sdxl_unet(seed: int, width: int, **config: object) -> UNet2DConditionModel:
    """A U-Net that takes SDXL's added conditioning: pooled text and six time ids."""
    return new_unet(
        seed,
        width,
        2 * ENCODER_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + ENCODER_WIDTH,
        **config,
    )


def _save_encoder(folder: Path, name: str, kind: type) -> None:
    words = letter_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words),
        max_position_embeddings=N_TOKENS,
        hidden_size=ENCODER_WIDTH,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=ENCODER_WIDTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.eos_token_id,
        initializer_factor=5.0,
    )
    torch.manual_seed(7)
    kind(config).save_pretrained(folder / name)
    words.save_pretrained(folder / name.replace("text_encoder", "tokenizer"))


def _save_pipeline(folder: Path, family: str, encoders: dict[str, str]) -> None:
    new_vae().save_pretrained(folder / "vae")
    index = {name: ["transformers", kind] for name, kind in encoders.items()}
    tokenizers = {n.replace("text_encoder", "tokenizer"): ["transformers", "PreTrainedTokenizerFast"] for n in encoders}
    (folder / "model_index.json").write_text(json.dumps({**index, **tokenizers}))
    (folder / "space.yaml").write_text(SPACE.format(family=family))

"""HPS v2: a CLIP ViT-H/14 tuned to what people prefer. Wu et al., arXiv 2306.09341; the cosine, as its own code gives.

Its weights are a file of open_clip's layout, `HPS_v2.1_compressed.pt` of xswu/HPSv2; here they become a CLIP model of
transformers. Tokens and sizes come from the processor of a ViT-H/14.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel, CLIPProcessor

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.measure.clip_score import Clip, cosines
from tstitch_search.measure.pretrained import load_processor

HINT = (
    "get it once with `hf download xswu/HPSv2 HPS_v2.1_compressed.pt` where there is a network; clip_score and "
    "pick_score need other models, psnr and ssim none"
)
N_HEADS = 16  # of both encoders of ViT-H/14; the file does not say
State = dict[str, torch.Tensor]
# Names within a block, open_clip's and transformers'; what both name alike is left out.
BLOCK = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1"}
BLOCK |= {"mlp.c_proj": "mlp.fc2"}


def hps_score(
    weights: Path, processor: str, near: Path, device: torch.device, n_heads: int = N_HEADS
) -> Callable[..., torch.Tensor]:
    """The score per image by the weights in that file. Raises EnvironmentProblem for what is missing or foreign."""
    state = _read(weights)
    try:
        model = CLIPModel(_config(state, n_heads))
        model.load_state_dict(_renamed(state), strict=True)
    except (KeyError, RuntimeError, ValueError) as error:
        raise EnvironmentProblem(f"{weights} holds no CLIP of open_clip's layout: {error}", hint=HINT) from error
    made = load_processor("processor of HPS v2", CLIPProcessor, (processor,), near)
    clip = Clip("HPS v2", model.float().requires_grad_(False).eval().to(device), made, device)

    def score(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return cosines(clip, images, prompts)

    return score


def _read(weights: Path) -> State:
    if not weights.is_file():
        raise EnvironmentProblem(f"the weights of HPS v2 are not at {weights}", hint=HINT)
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        state: State = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise EnvironmentProblem(f"the weights of HPS v2 at {weights} cannot be read: {error}", hint=HINT) from error
    return state.get("state_dict", state)  # type: ignore[return-value]


def _config(state: State, n_heads: int) -> CLIPConfig:
    """The sizes that the file's shapes say."""
    patches, words = state["visual.conv1.weight"], state["token_embedding.weight"]
    n_positions = len(state["visual.positional_embedding"]) - 1
    vision = _sizes(state, "visual.transformer", patches.shape[0]) | {"num_attention_heads": n_heads}
    vision |= {"patch_size": patches.shape[-1], "image_size": round(n_positions**0.5) * patches.shape[-1]}
    text = _sizes(state, "transformer", words.shape[1]) | {"num_attention_heads": n_heads}
    text |= {"vocab_size": len(words), "max_position_embeddings": len(state["positional_embedding"])}
    text |= {"eos_token_id": len(words) - 1, "bos_token_id": len(words) - 2}
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=state["text_projection"].shape[1])


def _sizes(state: State, prefix: str, width: int) -> dict[str, Any]:
    n_layers = len({name.split(".resblocks.")[1].split(".")[0] for name in state if name.startswith(f"{prefix}.res")})
    inner = len(state[f"{prefix}.resblocks.0.mlp.c_fc.weight"])
    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": n_layers}
    return {**sizes, "hidden_act": "gelu"}


def _renamed(state: State) -> State:
    """The same weights under the names that transformers gives them."""
    found = {
        "logit_scale": state["logit_scale"],
        "text_projection.weight": state["text_projection"].T,
        "visual_projection.weight": state["visual.proj"].T,
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
    }
    norms = {"text_model.final_layer_norm": "ln_final", "vision_model.pre_layrnorm": "visual.ln_pre"}
    for ours, theirs in {**norms, "vision_model.post_layernorm": "visual.ln_post"}.items():
        found |= {f"{ours}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}
    for ours, theirs in {"text_model": "transformer", "vision_model": "visual.transformer"}.items():
        for name, tensor in state.items():
            if name.startswith(f"{theirs}.resblocks."):
                found |= _of_block(ours, name.removeprefix(f"{theirs}.resblocks."), tensor)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _of_block(encoder: str, name: str, tensor: torch.Tensor) -> State:
    """One tensor of one block; the three projections of attention lie together in open_clip."""
    index, rest = name.split(".", 1)
    layer = f"{encoder}.encoder.layers.{index}"
    if rest.startswith("attn.in_proj_"):
        part = rest.removeprefix("attn.in_proj_")
        return {f"{layer}.self_attn.{p}_proj.{part}": x for p, x in zip("qkv", tensor.chunk(3), strict=True)}
    module, part = rest.rsplit(".", 1)
    return {f"{layer}.{BLOCK[module]}.{part}": tensor}

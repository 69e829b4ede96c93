"""Checkpoints of random weights in the layouts of facebookresearch/DiT and baofff/U-ViT, and what such weights mean.

The two forward passes are written from the papers (arXiv 2212.09748, figure 3; 2209.12152, figure 1), one product after
the other on the bare weights, so that nothing is shared with the models they are held against.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, silu, softmax

Weights = dict[str, Tensor]


def dit_weights(width: int = 64, layers: int = 2, size: int = 8, classes: int = 10, channels: int = 8) -> Weights:
    """Weights of a DiT with patches of 2x2 for 4 latent channels, no two layers alike and nothing zero."""
    shapes = {
        "x_embedder.proj": (width, 4, 2, 2),
        "t_embedder.mlp.0": (width, 256),
        "t_embedder.mlp.2": (width, width),
        "final_layer.linear": (4 * channels, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    for i in range(layers):
        shapes |= {
            f"blocks.{i}.attn.qkv": (3 * width, width),
            f"blocks.{i}.attn.proj": (width, width),
            f"blocks.{i}.mlp.fc1": (4 * width, width),
            f"blocks.{i}.mlp.fc2": (width, 4 * width),
            f"blocks.{i}.adaLN_modulation.1": (6 * width, width),
        }
    weights = {"y_embedder.embedding_table.weight": torch.randn(classes + 1, width)}
    weights["pos_embed"] = sines(width, size // 2)
    return weights | _linear(shapes)


def uvit_weights(width: int = 64, layers: int = 5, size: int = 8, classes: int = 10) -> Weights:
    """Weights of a U-ViT with patches of 2x2 for 4 latent channels."""
    shapes = {"patch_embed.proj": (width, 4, 2, 2), "decoder_pred": (16, width)}
    blocks = [f"in_blocks.{i}" for i in range(layers // 2)] + ["mid_block"]
    blocks += [f"out_blocks.{i}" for i in range(layers // 2)]
    for block in blocks:
        shapes |= {
            f"{block}.attn.qkv": (3 * width, width),
            f"{block}.attn.proj": (width, width),
            f"{block}.mlp.fc1": (4 * width, width),
            f"{block}.mlp.fc2": (width, 4 * width),
        }
        if block.startswith("out"):
            shapes[f"{block}.skip_linear"] = (width, 2 * width)
    weights = _linear(shapes)
    for norm in ("norm", *(f"{block}.norm{k}" for block in blocks for k in (1, 2))):
        weights |= {f"{norm}.weight": 1 + torch.randn(width) / 4, f"{norm}.bias": torch.randn(width) / 4}
    weights["label_emb.weight"] = torch.randn(classes + 1, width)
    weights["pos_embed"] = torch.randn(1, 2 + (size // 2) ** 2, width)
    return {key: value for key, value in weights.items() if not key.endswith("qkv.bias")}


def dit_answer(w: Weights, x: Tensor, t: Tensor, y: Tensor, heads: int = 1) -> Tensor:
    """The original DiT's output (n, channels, h, w)."""
    tokens = _patches(w, "x_embedder.proj", x) + w["pos_embed"]
    time = _apply(w, "t_embedder.mlp.2", silu(_apply(w, "t_embedder.mlp.0", waves(t, 256))))
    condition = silu(time + w["y_embedder.embedding_table.weight"][y])[:, None]
    for i in range(sum(key.endswith("attn.proj.bias") for key in w)):
        parts = _apply(w, f"blocks.{i}.adaLN_modulation.1", condition).chunk(6, dim=-1)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = parts
        tokens = tokens + gate * _attention(w, f"blocks.{i}.attn", _norm(tokens) * (1 + scale) + shift, heads)
        hidden = _apply(w, f"blocks.{i}.mlp.fc1", _norm(tokens) * (1 + scale_mlp) + shift_mlp)
        tokens = tokens + gate_mlp * _apply(w, f"blocks.{i}.mlp.fc2", gelu(hidden, approximate="tanh"))
    shift, scale = _apply(w, "final_layer.adaLN_modulation.1", condition).chunk(2, dim=-1)
    return _image(_apply(w, "final_layer.linear", _norm(tokens) * (1 + scale) + shift))


def uvit_answer(w: Weights, x: Tensor, t: Tensor, y: Tensor, heads: int = 1) -> Tensor:
    """The original U-ViT's output (n, 4, h, w); it counts timesteps from 1."""
    width = w["norm.weight"].numel()
    first = torch.stack([w["label_emb.weight"][y], waves(t + 1, width)], dim=1)
    tokens = torch.cat([first, _patches(w, "patch_embed.proj", x)], dim=1) + w["pos_embed"]
    n_half, skips = sum("skip_linear.bias" in key for key in w), []
    for block in (*(f"in_blocks.{i}" for i in range(n_half)), "mid_block", *(f"out_blocks.{i}" for i in range(n_half))):
        if block.startswith("out"):
            tokens = _apply(w, f"{block}.skip_linear", torch.cat([tokens, skips.pop()], dim=-1))
        tokens = tokens + _attention(w, f"{block}.attn", _learned_norm(w, f"{block}.norm1", tokens), heads)
        hidden = gelu(_apply(w, f"{block}.mlp.fc1", _learned_norm(w, f"{block}.norm2", tokens)))
        tokens = tokens + _apply(w, f"{block}.mlp.fc2", hidden)
        if block.startswith("in"):
            skips.append(tokens)
    return _image(_apply(w, "decoder_pred", _learned_norm(w, "norm", tokens))[:, 2:])


def waves(t: Tensor, width: int) -> Tensor:
    """cos and sin of t times 10000^(-k/n), k = 0 ... n - 1, n = width / 2: (len(t), width)."""
    n = width // 2
    angles = t[:, None].double() * torch.tensor([10000 ** (-k / n) for k in range(n)], dtype=torch.float64)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def sines(width: int, side: int) -> Tensor:
    """The fixed position embedding (1, side * side, width): a quarter each for sin x, cos x, sin y, cos y."""
    omega = 10000.0 ** (-np.arange(width // 4) / (width // 4))
    rows, columns = np.divmod(np.arange(side * side), side)
    parts = [f(at[:, None] * omega) for at in (columns, rows) for f in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()[None]


def _linear(shapes: dict[str, tuple[int, ...]]) -> Weights:
    weights = {f"{key}.weight": torch.randn(shape) / math.sqrt(math.prod(shape[1:])) for key, shape in shapes.items()}
    return weights | {f"{key}.bias": torch.randn(shape[0]) / 4 for key, shape in shapes.items()}


def _apply(w: Weights, key: str, x: Tensor) -> Tensor:
    return x @ w[f"{key}.weight"].T + w.get(f"{key}.bias", torch.zeros(1))


def _norm(x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], eps=1e-6)


def _learned_norm(w: Weights, key: str, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"])


def _attention(w: Weights, key: str, x: Tensor, heads: int) -> Tensor:
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in _apply(w, f"{key}.qkv", x).chunk(3, dim=-1))
    mixed = softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1) @ v
    return _apply(w, f"{key}.proj", mixed.transpose(1, 2).flatten(2))


def _patches(w: Weights, key: str, x: Tensor) -> Tensor:
    """(n, 4, h, w) as tokens (n, h * w / 4, width), row by row."""
    blocks = x.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    return blocks @ w[f"{key}.weight"].flatten(1).T + w[f"{key}.bias"]


def _image(tokens: Tensor) -> Tensor:
    """Tokens of 2x2 pixels, channels last, as (n, channels, h, w)."""
    side = math.isqrt(tokens.shape[1])
    pixels = tokens.unflatten(-1, (2, 2, -1)).unflatten(1, (side, side))
    return pixels.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

"""First stages of random weights in the layout of CompVis/latent-diffusion (taming-transformers), and how they decode.

Written from the paper (Esser et al., arXiv 2012.09841, table 7) on the bare weights.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, interpolate, silu, softmax

Weights = dict[str, Tensor]


def vq_weights(widths: tuple[int, ...] = (32, 64), channels: int = 4, codes: int = 16, layers: int = 1) -> Weights:
    """An autoencoder with attention at its coarsest resolution."""
    w: Weights = {
        "quantize.embedding.weight": torch.randn(codes, channels),
        "loss.discriminator.weight": torch.zeros(1),
    }
    last = len(widths) - 1
    _conv(w, "quant_conv", channels, channels, 1)
    _conv(w, "post_quant_conv", channels, channels, 1)
    for part, to, of in (("encoder", widths[0], 3), ("decoder", widths[last], channels)):
        _conv(w, f"{part}.conv_in", to, of)
        for k in (1, 2):
            _block(w, f"{part}.mid.block_{k}", widths[last], widths[last])
        _attention(w, f"{part}.mid.attn_1", widths[last])
    for i in range(len(widths)):
        for j in range(layers):
            _block(w, f"encoder.down.{i}.block.{j}", widths[i], widths[max(i - (j == 0), 0)])
        for j in range(layers + 1):
            _block(w, f"decoder.up.{i}.block.{j}", widths[i], widths[min(i + (j == 0), last)])
        if i < last:
            _conv(w, f"encoder.down.{i}.downsample.conv", widths[i], widths[i])
        if i > 0:
            _conv(w, f"decoder.up.{i}.upsample.conv", widths[i], widths[i])
    for j in range(layers):
        _attention(w, f"encoder.down.{last}.attn.{j}", widths[last])
    for j in range(layers + 1):
        _attention(w, f"decoder.up.{last}.attn.{j}", widths[last])
    for part, width, to in (("encoder", widths[last], channels), ("decoder", widths[0], 3)):
        _norm(w, f"{part}.norm_out", width)
        _conv(w, f"{part}.conv_out", to, width)
    return w


def vq_decode(w: Weights, z: Tensor) -> Tensor:
    """Images (n, 3, h, w) of latents (n, c, h, w): each becomes the nearest code, which the decoder takes."""
    codes = w["quantize.embedding.weight"]
    nearest = (z[:, None] - codes[None, :, :, None, None]).square().sum(2).argmin(1)
    x = _c(w, "decoder.conv_in", _c(w, "post_quant_conv", codes[nearest].permute(0, 3, 1, 2)))
    x = _residual(w, "decoder.mid.block_1", x)
    x = _residual(w, "decoder.mid.block_2", _attend(w, "decoder.mid.attn_1", x))
    for i in reversed(range(sum(key.endswith("block.0.conv1.bias") and ".up." in key for key in w))):
        for j in range(sum(key.startswith(f"decoder.up.{i}.block.") and key.endswith("conv1.bias") for key in w)):
            x = _residual(w, f"decoder.up.{i}.block.{j}", x)
            if f"decoder.up.{i}.attn.{j}.q.bias" in w:
                x = _attend(w, f"decoder.up.{i}.attn.{j}", x)
        if i > 0:
            x = _c(w, f"decoder.up.{i}.upsample.conv", interpolate(x, scale_factor=2.0))
    return _c(w, "decoder.conv_out", silu(_n(w, "decoder.norm_out", x)))


def _residual(w: Weights, key: str, x: Tensor) -> Tensor:
    hidden = _c(w, f"{key}.conv1", silu(_n(w, f"{key}.norm1", x)))
    hidden = _c(w, f"{key}.conv2", silu(_n(w, f"{key}.norm2", hidden)))
    return hidden + (_c(w, f"{key}.nin_shortcut", x) if f"{key}.nin_shortcut.bias" in w else x)


def _attend(w: Weights, key: str, x: Tensor) -> Tensor:
    normed = _n(w, f"{key}.norm", x)
    q, k, v = (_c(w, f"{key}.{name}", normed).flatten(2) for name in "qkv")
    mixed = v @ softmax(q.mT @ k / math.sqrt(q.shape[1]), dim=-1).mT
    return x + _c(w, f"{key}.proj_out", mixed.unflatten(2, x.shape[2:]))


def _c(w: Weights, key: str, x: Tensor) -> Tensor:
    weight = w[f"{key}.weight"]
    return conv2d(x, weight, w[f"{key}.bias"], padding=weight.shape[-1] // 2)


def _n(w: Weights, key: str, x: Tensor) -> Tensor:
    return group_norm(x, 32, w[f"{key}.weight"], w[f"{key}.bias"], 1e-6)


def _block(w: Weights, key: str, to: int, of: int) -> None:
    _norm(w, f"{key}.norm1", of)
    _conv(w, f"{key}.conv1", to, of)
    _norm(w, f"{key}.norm2", to)
    _conv(w, f"{key}.conv2", to, to)
    if to != of:
        _conv(w, f"{key}.nin_shortcut", to, of, 1)


def _attention(w: Weights, key: str, width: int) -> None:
    _norm(w, f"{key}.norm", width)
    for name in ("q", "k", "v", "proj_out"):
        _conv(w, f"{key}.{name}", width, width, 1)


def _norm(w: Weights, key: str, width: int) -> None:
    w |= {f"{key}.weight": 1 + torch.randn(width) / 4, f"{key}.bias": torch.randn(width) / 4}


def _conv(w: Weights, key: str, to: int, of: int, size: int = 3) -> None:
    w |= {
        f"{key}.weight": torch.randn(to, of, size, size) / math.sqrt(of * size**2),
        f"{key}.bias": torch.randn(to) / 4,
    }

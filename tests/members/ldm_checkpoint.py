"""Checkpoints of random weights in the layout of CompVis/latent-diffusion, class-conditional, and what they mean.

The forward pass is written from the paper (Rombach et al., arXiv 2112.10752, appendix E.2 and figure 3) on the bare
weights, so that nothing is shared with the model it is held against.
"""

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, group_norm, interpolate, layer_norm, silu, softmax

Weights = dict[str, Tensor]
UNET = "model.diffusion_model"
CLASSES = "cond_stage_model.embedding.weight"


def ldm_weights(
    in_channels: int = 4,
    width: int = 32,
    multiples: tuple[int, ...] = (1, 2),
    attends: tuple[bool, ...] = (True, True),
    context: int = 6,
    classes: int = 1000,
    layers: int = 1,
) -> Weights:
    """A U-Net in the original's order of blocks and the embedding of its classes, no two layers alike."""
    net = _Net(width, context)
    net.linear("time_embed.0", 4 * width, width)
    net.linear("time_embed.2", 4 * width, 4 * width)
    net.conv("input_blocks.0.0", width, in_channels)
    channels, skips, i = width, [width], 1
    for level, (multiple, attend) in enumerate(zip(multiples, attends, strict=True)):
        for _ in range(layers):
            net.residual(f"input_blocks.{i}.0", multiple * width, channels)
            channels = multiple * width
            if attend:
                net.transformer(f"input_blocks.{i}.1", channels)
            skips.append(channels)
            i += 1
        if level < len(multiples) - 1:
            net.conv(f"input_blocks.{i}.0.op", channels, channels)
            skips.append(channels)
            i += 1
    for k in (0, 2):
        net.residual(f"middle_block.{k}", channels, channels)
    net.transformer("middle_block.1", channels)
    i = 0
    for level, (multiple, attend) in reversed(list(enumerate(zip(multiples, attends, strict=True)))):
        for layer in range(layers + 1):
            net.residual(f"output_blocks.{i}.0", multiple * width, channels + skips.pop())
            channels = multiple * width
            if attend:
                net.transformer(f"output_blocks.{i}.1", channels)
            if level and layer == layers:
                net.conv(f"output_blocks.{i}.{1 + attend}.conv", channels, channels)
            i += 1
    net.norm("out.0", channels)
    net.conv("out.2", in_channels, channels)
    return {f"{UNET}.{key}": value for key, value in net.weights.items()} | {CLASSES: torch.randn(classes, context)}


class _Net:
    """Collects random weights under the original's names."""

    def __init__(self, width: int, context: int):
        self.weights: Weights = {}
        self._width, self._context = width, context

    def linear(self, key: str, *shape: int, bias: bool = True) -> None:
        self.weights[f"{key}.weight"] = torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
        if bias:
            self.weights[f"{key}.bias"] = torch.randn(shape[0]) / 4

    def conv(self, key: str, to: int, of: int, size: int = 3) -> None:
        self.linear(key, to, of, size, size)

    def norm(self, key: str, width: int) -> None:
        self.weights |= {f"{key}.weight": 1 + torch.randn(width) / 4, f"{key}.bias": torch.randn(width) / 4}

    def residual(self, key: str, to: int, of: int) -> None:
        self.norm(f"{key}.in_layers.0", of)
        self.conv(f"{key}.in_layers.2", to, of)
        self.linear(f"{key}.emb_layers.1", to, 4 * self._width)
        self.norm(f"{key}.out_layers.0", to)
        self.conv(f"{key}.out_layers.3", to, to)
        if to != of:
            self.conv(f"{key}.skip_connection", to, of, 1)

    def transformer(self, key: str, width: int) -> None:
        self.norm(f"{key}.norm", width)
        block = f"{key}.transformer_blocks.0"
        for k in (1, 2, 3):
            self.norm(f"{block}.norm{k}", width)
        for name, context in (("attn1", width), ("attn2", self._context)):
            for part, of in (("q", width), ("k", context), ("v", context)):
                self.linear(f"{block}.{name}.to_{part}", width, of, bias=False)
            self.linear(f"{block}.{name}.to_out.0", width, width)
        self.linear(f"{block}.ff.net.0.proj", 8 * width, width)
        self.linear(f"{block}.ff.net.2", width, 4 * width)
        for part in ("proj_in", "proj_out"):
            self.conv(f"{key}.{part}", width, width, 1)


def as_trained(weights: Weights) -> dict[str, Any]:
    """The checkpoint that Lightning's trainer writes: averages under flat names, first stage, optimizer, callbacks."""
    state = OrderedDict((key, torch.zeros_like(v) if key.startswith(UNET) else v) for key, v in weights.items())
    for key, value in weights.items():
        if key.startswith(UNET):
            state["model_ema." + key.removeprefix("model.").replace(".", "")] = value
    state |= {"model_ema.decay": torch.tensor(0.9999), "betas": torch.linspace(0, 1, 10)}
    state["first_stage_model.encoder.conv_in.weight"] = torch.randn(8, 3, 3, 3)
    optimizer = [{"state": {0: {"step": 3, "exp_avg": torch.randn(3)}}, "param_groups": [{"lr": 1e-6}]}]
    return {"epoch": 3, "global_step": 9, "state_dict": state, "optimizer_states": optimizer, "lr_schedulers": []}


def ldm_answer(w: Weights, x: Tensor, t: Tensor, context: Tensor, n_heads: dict[int, int]) -> Tensor:
    """The original's output (n, c, h, w) for one embedding (n, width) per image; `n_heads` by number of channels."""
    w = {key.removeprefix(f"{UNET}."): value for key, value in w.items()}
    net = _Forward(w, context[:, None], n_heads)
    time = _linear(w, "time_embed.2", silu(_linear(w, "time_embed.0", _waves(t, w["time_embed.0.weight"].shape[1]))))
    x, skips, i = _conv(w, "input_blocks.0.0", x), [], 1
    skips.append(x)
    while any(key.startswith(f"input_blocks.{i}.") for key in w):
        if f"input_blocks.{i}.0.op.weight" in w:
            x = _conv(w, f"input_blocks.{i}.0.op", x, stride=2)
        else:
            x = net.block(f"input_blocks.{i}", x, time)
        skips.append(x)
        i += 1
    x = net.residual("middle_block.0", x, time)
    x = net.residual("middle_block.2", net.transformer("middle_block.1", x), time)
    for i in range(len(skips)):
        x = net.block(f"output_blocks.{i}", torch.cat([x, skips.pop()], dim=1), time)
        for k in (1, 2):
            if f"output_blocks.{i}.{k}.conv.weight" in w:
                x = _conv(w, f"output_blocks.{i}.{k}.conv", interpolate(x, scale_factor=2.0))
    return _conv(w, "out.2", silu(_group_norm(w, "out.0", x)))


class _Forward:
    """The original's blocks on bare weights."""

    def __init__(self, w: Weights, context: Tensor, n_heads: dict[int, int]):
        self._w, self._context, self._n_heads = w, context, n_heads

    def block(self, key: str, x: Tensor, time: Tensor) -> Tensor:
        x = self.residual(f"{key}.0", x, time)
        return self.transformer(f"{key}.1", x) if f"{key}.1.proj_in.weight" in self._w else x

    def residual(self, key: str, x: Tensor, time: Tensor) -> Tensor:
        hidden = _conv(self._w, f"{key}.in_layers.2", silu(_group_norm(self._w, f"{key}.in_layers.0", x)))
        hidden = hidden + _linear(self._w, f"{key}.emb_layers.1", silu(time))[:, :, None, None]
        hidden = _conv(self._w, f"{key}.out_layers.3", silu(_group_norm(self._w, f"{key}.out_layers.0", hidden)))
        return hidden + (_conv(self._w, f"{key}.skip_connection", x) if f"{key}.skip_connection.bias" in self._w else x)

    def transformer(self, key: str, x: Tensor) -> Tensor:
        w, block, (_, _, height, width) = self._w, f"{key}.transformer_blocks.0", x.shape
        tokens = _conv(w, f"{key}.proj_in", _group_norm(w, f"{key}.norm", x, eps=1e-6)).flatten(2).mT
        tokens = tokens + self._attention(f"{block}.attn1", normed := _layer_norm(w, f"{block}.norm1", tokens), normed)
        tokens = tokens + self._attention(f"{block}.attn2", _layer_norm(w, f"{block}.norm2", tokens), self._context)
        value, gate = _linear(w, f"{block}.ff.net.0.proj", _layer_norm(w, f"{block}.norm3", tokens)).chunk(2, dim=-1)
        tokens = tokens + _linear(w, f"{block}.ff.net.2", value * gelu(gate))
        return x + _conv(w, f"{key}.proj_out", tokens.mT.unflatten(2, (height, width)))

    def _attention(self, key: str, x: Tensor, context: Tensor) -> Tensor:
        heads = self._n_heads[x.shape[-1]]
        asked = {"q": x, "k": context, "v": context}
        q, k, v = (
            _linear(self._w, f"{key}.to_{n}", y).unflatten(-1, (heads, -1)).transpose(1, 2) for n, y in asked.items()
        )
        mixed = softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v
        return _linear(self._w, f"{key}.to_out.0", mixed.transpose(1, 2).flatten(2))


def _waves(t: Tensor, width: int) -> Tensor:
    n = width // 2
    angles = t[:, None].double() * torch.tensor([10000 ** (-k / n) for k in range(n)], dtype=torch.float64)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def _linear(w: Weights, key: str, x: Tensor) -> Tensor:
    return x @ w[f"{key}.weight"].T + w.get(f"{key}.bias", torch.zeros(1))


def _conv(w: Weights, key: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = w[f"{key}.weight"]
    return conv2d(x, weight, w[f"{key}.bias"], stride, padding=weight.shape[-1] // 2)


def _group_norm(w: Weights, key: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return group_norm(x, 32, w[f"{key}.weight"], w[f"{key}.bias"], eps)


def _layer_norm(w: Weights, key: str, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"])

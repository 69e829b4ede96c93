"""U-ViT, all tokens alike with long skip connections (Bao et al., arXiv 2209.12152), class-conditional.

diffusers has none for class labels. Parameters are named as in the released checkpoints, so that those load as they
are; saved with `save_pretrained` it is a folder like any other member's.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn


class UViT2DModel(ModelMixin, ConfigMixin):
    """A transformer over time, label and patch tokens whose second half also sees what the first half made."""

    @register_to_config
    def __init__(
        self,
        width: int = 1152,
        num_attention_heads: int = 16,
        num_layers: int = 29,
        sample_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        out_channels: int = 4,
        num_class_embeds: int = 1001,
        qkv_bias: bool = False,
        time_mlp: bool = False,
        final_conv: bool = False,
    ):
        """The defaults are U-ViT-H/2; `num_layers` is odd. The last of `num_class_embeds` says "no label"."""
        super().__init__()
        n_half, n_tokens = num_layers // 2, (sample_size // patch_size) ** 2
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(in_channels, width, patch_size, patch_size)})
        mlp = (nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.time_embed = nn.Sequential(*mlp) if time_mlp else nn.Identity()
        self.label_emb = nn.Embedding(num_class_embeds, width)
        self.pos_embed = nn.Parameter(torch.randn(1, 2 + n_tokens, width) * 0.02)

        def new_block(skip: bool) -> Block:
            return Block(width, num_attention_heads, qkv_bias, skip)

        self.in_blocks = nn.ModuleList(new_block(skip=False) for _ in range(n_half))
        self.mid_block = new_block(skip=False)
        self.out_blocks = nn.ModuleList(new_block(skip=True) for _ in range(n_half))
        self.norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, patch_size**2 * out_channels)
        self.final_layer = nn.Conv2d(out_channels, out_channels, 3, padding=1) if final_conv else nn.Identity()

    def forward(
        self, hidden_states: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor
    ) -> Transformer2DModelOutput:
        """The prediction (n, c, h, w) for latents (n, c, h, w), timestep () or (n,) in [0, 999], class labels (n,).

        U-ViT was trained with timesteps from 1 to 1000, where diffusers counts from 0: one is added here.
        """
        n = len(hidden_states)
        time = self._time_token((timestep + 1).expand(n)).to(hidden_states.dtype)
        patches = self.patch_embed["proj"](hidden_states).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.label_emb(class_labels)[:, None], time[:, None], patches], dim=1) + self.pos_embed
        skips = []
        for block in self.in_blocks:
            tokens = block(tokens)
            skips.append(tokens)
        tokens = self.mid_block(tokens)
        for block in self.out_blocks:
            tokens = block(tokens, skips.pop())
        return Transformer2DModelOutput(self.final_layer(self._image(self.decoder_pred(self.norm(tokens))[:, 2:])))

    def _time_token(self, timestep: torch.Tensor) -> torch.Tensor:
        waves = get_timestep_embedding(timestep, self.config.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        token: torch.Tensor = self.time_embed(waves.to(self.dtype))
        return token

    def _image(self, patches: torch.Tensor) -> torch.Tensor:
        """(n, tokens, p * p * c) as (n, c, h, w)."""
        p, side = self.config.patch_size, self.config.sample_size // self.config.patch_size
        grid = patches.reshape(len(patches), side, side, p, p, self.config.out_channels)
        return grid.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, side * p, side * p)


class Block(nn.Module):
    """Attention and MLP, each with a layer norm before and a residual around; with `skip`, two inputs merged first."""

    def __init__(self, width: int, n_heads: int, qkv_bias: bool, skip: bool):
        super().__init__()
        self.n_heads = n_heads
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width, qkv_bias), "proj": nn.Linear(width, width)})
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.skip_linear = nn.Linear(2 * width, width) if skip else None

    def forward(self, tokens: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (n, tokens, width) to the same shape."""
        if self.skip_linear is not None and skip is not None:
            tokens = self.skip_linear(torch.cat([tokens, skip], dim=-1))
        tokens = tokens + self._attend(self.norm1(tokens))
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm2(tokens)))
        return tokens + self.mlp["fc2"](hidden)

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        n, length, width = tokens.shape
        qkv = self.attn["qkv"](tokens).reshape(n, length, 3, self.n_heads, width // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        attended: torch.Tensor = self.attn["proj"](mixed.transpose(1, 2).reshape(n, length, width))
        return attended

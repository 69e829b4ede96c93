"""Class-conditional latent U-Nets (Rombach et al., arXiv 2112.10752), which diffusers has no pipeline for.

A member brings the embedding of its classes along, so that members of other widths take part in one trajectory.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, DiffusionPipeline, ImagePipelineOutput, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

# What the pipeline calls "no label".
NO_LABEL = -1


class ClassConditionalUNet(ModelMixin, ConfigMixin):
    """A U-Net that attends to one embedding per image, of its class, as wide as its `cross_attention_dim`."""

    @register_to_config
    def __init__(
        self,
        unet_config: dict[str, Any],
        num_class_embeds: int,
        sample_size: int = 32,
        in_channels: int = 4,
        out_channels: int = 4,
        null_seed: int | None = None,
    ):
        """`unet_config`: further arguments of UNet2DConditionModel.

        Without `null_seed` the last of `num_class_embeds` says "no label". With it all are classes, and uniform noise
        of that seed says it: LDM-S was trained without a null class, and its authors guide it away from noise.
        """
        super().__init__()
        shared = {"sample_size": sample_size, "in_channels": in_channels, "out_channels": out_channels}
        self.unet = UNet2DConditionModel(**shared, **unet_config)
        width = self.unet.config.cross_attention_dim
        self.embedder = nn.Embedding(num_class_embeds, width)
        if null_seed is not None:
            self.register_buffer("null", torch.rand(width, generator=torch.Generator().manual_seed(null_seed)))

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Any:
        """The U-Net's output for latents (n, c, h, w), timestep () or (n,) and class labels (n,), NO_LABEL included."""
        no_label = class_labels == NO_LABEL
        if self.config.null_seed is None:
            context = self.embedder(torch.where(no_label, self.config.num_class_embeds - 1, class_labels))
        else:
            context = torch.where(no_label[:, None], self.null, self.embedder(class_labels.clamp(min=0)))
        return self.unet(sample, timestep, context[:, None])


class ClassConditionalPipeline(DiffusionPipeline):
    """From class labels to images: noise, guided denoising, decoding. Made like diffusers' own."""

    def __init__(self, unet: nn.Module, vae: nn.Module, scheduler: Any):
        super().__init__()
        self.register_modules(unet=unet, vae=vae, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int],
        guidance_scale: float = 1.0,
        generator: list[torch.Generator] | None = None,
        num_inference_steps: int = 50,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        """Images of the labels, in [0, 1] as tensor (n, c, h, w) ("pt"), as array (n, h, w, c) ("np") or as "pil".

        Image i begins with noise of generator i, and a solver that adds noise in its steps takes it from there too.
        """
        device, guided = self._execution_device, guidance_scale > 1
        labels = torch.tensor([*class_labels, *([NO_LABEL] * len(class_labels) if guided else [])], device=device)
        config = self.unet.config
        shape = (len(class_labels), config.in_channels, config.sample_size, config.sample_size)
        noise = randn_tensor(shape, generator=generator, device=device, dtype=self.unet.dtype)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        latents = noise * self.scheduler.init_noise_sigma
        for t in self.progress_bar(self.scheduler.timesteps):
            question = self.scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
            prediction = self.unet(question, t, class_labels=labels).sample
            if guided:
                labelled, unlabelled = prediction.chunk(2)
                prediction = unlabelled + guidance_scale * (labelled - unlabelled)
            latents = self._step(prediction, t, latents, generator)
        images = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return ImagePipelineOutput(self._as_images((images / 2 + 0.5).clamp(0, 1), output_type))

    def _step(
        self, prediction: torch.Tensor, t: torch.Tensor, latents: torch.Tensor, generator: list[torch.Generator] | None
    ) -> torch.Tensor:
        step = self.scheduler.step
        if "generator" in inspect.signature(step).parameters:
            return step(prediction, t, latents, generator=generator).prev_sample
        return step(prediction, t, latents).prev_sample

    def _as_images(self, images: torch.Tensor, output_type: str) -> Any:
        if output_type == "pt":
            return images
        array = images.permute(0, 2, 3, 1).float().cpu().numpy()
        return self.numpy_to_pil(array) if output_type == "pil" else array

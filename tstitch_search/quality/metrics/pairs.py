"""Metrics per pair: how far an image is from the anchor's own image of the same seed; the anchor's is 0 or the best.

They ask for *the same pictures, faster*: the anchor wins by construction, and an allocation that makes better pictures
than the anchor counts as a loss. The values are made by `measure/scores/`, one file each. The margins are conventions,
not findings (docs/statistics.md says what speaks for each).
"""

from math import log10

from tstitch_search.quality.metrics.metric import mean_metric

# What rounding to 8 bits alone leaves, an error of 1/12 of a squared level: PSNR of equal images, instead of infinity.
PSNR_CEILING = 10 * log10(255**2 * 12)

PSNR = mean_metric("psnr", "PSNR", "pair", higher_is_better=True, margin=PSNR_CEILING - 30)  # 30 dB
SSIM = mean_metric("ssim", "SSIM", "pair", higher_is_better=True, margin=0.05)
PERCEPTUAL = mean_metric("perceptual", "perceptual distance", "pair", higher_is_better=False, margin=0.05)
LPIPS = mean_metric("lpips", "LPIPS", "pair", higher_is_better=False, margin=0.1)
DINO_DISTANCE = mean_metric("dino_distance", "DINO distance", "pair", higher_is_better=False, margin=0.05)
CLIP_DISTANCE = mean_metric("clip_distance", "CLIP distance", "pair", higher_is_better=False, margin=0.03)
TEMPORAL = mean_metric("temporal_consistency", "temporal difference", "pair", higher_is_better=False, margin=0.01)

"""CLIP score: how well each image fits its prompt, on average.

Hessel et al., arXiv 2104.08718, section 3, with the weight 100 that image generation papers use: the stored array holds
100 max(cos, 0) of each image, made by `measure/clip_score.py`.
"""

from tstitch_search.quality.metrics.metric import mean_metric

CLIP_SCORE = mean_metric("clip_score", "CLIP score", "image", higher_is_better=True)

"""A metric of one's own: how differently bright an image is from the largest denoiser's of the same seed.

    PYTHONPATH=examples tstitch-search run studies/perceptual.yaml --set quality.objective=own_metric:Brightness

What a metric says of itself: tstitch_search/quality/metrics/own.py; what it must keep, as tests to inherit:
tstitch_search/measure/scores/contract.py.
"""


class Brightness:
    """The difference of the mean levels, as a share of white."""

    kind = "pair"
    label = "brightness difference"
    higher_is_better = False
    margin = 0.02  # the loss that counts as none, in the metric's own unit

    def __init__(self, device):
        """Load onto `device` what the metric looks with; here nothing."""

    def __call__(self, images, anchors):
        """Values (n,) of uint8 images (n, 3, h, w) and the anchor's of the same seeds."""
        brightness = [pictures.float().mean(dim=(1, 2, 3)) / 255 for pictures in (images, anchors)]
        return (brightness[0] - brightness[1]).abs()

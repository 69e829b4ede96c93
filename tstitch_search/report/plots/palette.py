"""One colour per denoiser across the page, legible on light and dark ground and to colour-blind readers."""

from collections.abc import Sequence

# From cheap and warm to large and cold; lightness differs between neighbours as well as hue.
_COLOURS = ("#e6a23c", "#2a9d8f", "#3f6fd1", "#a855a0", "#d9603b", "#7c8aa0")
FRONT = "#d6336c"
SEARCH = "#8491a5"
STAR = "#e0a100"
RULE = "#6f7d92"
_DARK, _LIGHT = "#10151f", "#ffffff"


def colours(denoisers: Sequence[str]) -> dict[str, str]:
    """Colour of each denoiser, in the order given; beyond six they repeat."""
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(denoisers)}


def ink_on(colour: str) -> str:
    """Dark or light text, whichever contrasts more with `#rrggbb` (relative luminance as in WCAG 2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK if (luminance + 0.05) ** 2 > 1.05 * 0.057 else _LIGHT

"""The embedded family: small latent diffusion models of Fashion-MNIST, trained by us and shipped with the package."""

from pathlib import Path

PREFIX = "zoo:"
# The name under which the family's image features are registered with torch-fidelity.
FASHION_EXTRACTOR = "fashion-cnn"


def embedded_path(text: str) -> Path:
    """Where `zoo:FAMILY/...` lies in the installed package."""
    return Path(__file__).parent / text.removeprefix(PREFIX)

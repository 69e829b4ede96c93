"""tstitch-search: which diffusion denoiser should take which sampling steps (T-Stitch, arXiv 2402.14167)."""

from importlib.metadata import version

from tstitch_search.allocation import Allocation

__all__ = ["Allocation", "__version__"]
__version__ = version("tstitch-search")

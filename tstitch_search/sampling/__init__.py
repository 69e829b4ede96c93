"""Sampling: members inside a stock pipeline. Modules and an allocation come in, images come out.

Start with `stitched_denoiser.py`, which stands where the pipeline's denoiser stood; `assembly.py` puts a pipeline
together, `deploy.py` is `stitch`.
"""

"""Stitching while a pipeline runs: which member answers the present step, and how it is asked.

In: a pipeline's question. Out: the answer of the step's member. Begin with `stitched_denoiser.py`.
"""

"""Stitching in production. In: a loaded pipeline and an entry of a lookup table. Out: the same pipeline, stitched.

Begin with `stitch.py`.
"""

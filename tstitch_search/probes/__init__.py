"""Probes: what explains a front. Members and a trajectory come in, similarities and spectra go out; fine-tuning too.

Start with `along_trajectory.py`, along which the members are asked.
"""

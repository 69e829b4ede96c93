"""The seconds of a study: measured, told beforehand, and held against the chunks' own while it runs.

In: a bench or a calibration file. Out: a `LatencyModel`, a price. Begin with `calibrations.py`.
"""

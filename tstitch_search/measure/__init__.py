"""On a worker: a `Job` comes in, its `Answer` (images, features, values, times) goes out. Home of torch-fidelity.

Start with `measurer.py`; `recorded.py` does the same from a table of past measurements.
"""

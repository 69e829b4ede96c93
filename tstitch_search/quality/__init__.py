"""From features to numbers with errors: stored arrays come in, estimates go out. numpy only: anywhere, later, again.

Start with `estimate.py`; the metrics are in `metrics/`, the two ways to an error in `jackknife.py` and
`control_variates.py`.
"""

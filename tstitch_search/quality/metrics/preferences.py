"""What people prefer, as models of it say: `measure/scores/pick_score.py`, `hps_v2.py`.

The margins are a choice, not findings.
"""

from tstitch_search.quality.metrics.metric import mean_metric

PICK_SCORE = mean_metric("pick_score", "PickScore", "image", higher_is_better=True, margin=0.1)
HPS_V2 = mean_metric("hps_v2", "HPS v2", "image", higher_is_better=True, margin=0.002)

"""Probes: what explains a front. Members asked along one trajectory, and trained on for the steps they take."""

"""For teams that already run something else: our parts inside their loop."""

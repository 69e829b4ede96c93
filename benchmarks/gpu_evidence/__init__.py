"""What `scripts/gpu_evidence` measures on a GPU: one module per part, and the page of the results."""

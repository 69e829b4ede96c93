"""From an allocation to images, features and times, on a worker: the home of torch, diffusers and torch-fidelity."""

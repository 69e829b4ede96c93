"""Members: what can answer a sampling step. Weights and configs come in, modules ready to answer go out."""

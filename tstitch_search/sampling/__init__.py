"""Sampling: members inside a stock pipeline. Modules and an allocation come in, images come out."""

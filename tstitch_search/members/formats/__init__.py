"""Checkpoint formats that are not diffusers folders: read without running them, and turned into models."""

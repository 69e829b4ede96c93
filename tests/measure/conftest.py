"""Tests of this folder call torch."""

from torch_fixtures import one_thread, same_random_numbers

__all__ = ["one_thread", "same_random_numbers"]

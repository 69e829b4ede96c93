"""What is done to a member beside loading it: a LoRA, a cache, quantised weights, a module of its own over shared ones.

In: a module and what the search space says. Out: a module that answers differently. Begin with `twins.py`.
"""

"""What can be asked of a lookup table alone: images, other times, a second look, one table of two. One module per verb.

In: a table. Out: images, an answer, or another table. Begin with `verify.py`.
"""

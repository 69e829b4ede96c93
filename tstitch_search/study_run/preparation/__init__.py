"""What a study has before its first image: workers, real images as features, where its members lie, earlier studies.

In: a study. Out: a pool, a `Reference`, positions, what earlier tables say. Begin with `references.py`.
"""

"""Past measurements in place of a device: a table comes in, a `Measurer` that answers from it goes out. No torch.

Begin with `measurer.py`.
"""

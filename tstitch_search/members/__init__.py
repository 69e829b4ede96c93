"""Members: what can answer a sampling step. Weights and configs come in, modules ready to answer go out.

Start with `loading.py`; `facts.py` and `compatibility.py` tell from configurations alone what a member is and whether
two of them fit together.
"""

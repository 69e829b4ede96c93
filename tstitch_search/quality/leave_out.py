"""The root trace of FID with each block of images left out, all from one eigenproblem: what a jackknife needs.

With the rows of Y the images' centred features times the reference's root, in the eigenbasis of M = Y^T Y, leaving out
the b images of a block gives M - Z^T Z, where Z is (b, r): the block's rows, mixed so that the mean moves along. By
sqrt(m) = 2/pi int_0^inf m / (m + t^2) dt, the determinant lemma and integration by parts,

    tr M^1/2 - tr (M - Z^T Z)^1/2 = -1/pi int_0^inf log det (1 - Z (M + t^2)^-1 Z^T) dt

where M is diagonal and the determinant of size b. In log t the integrand is analytic in a strip of half-width pi / 2,
so that the trapezoidal rule with step h is exact to about exp(-pi^2 / h).
"""

from math import ceil, log, pi

import numpy as np

# The step in log t: exact to some 1e-4 of what a block adds, far below what is uncertain in an error.
STEP = 1.0
# Where t begins, as a share of the mean singular value, and ends, as a multiple of the largest one.
LOWEST, HIGHEST = 1e-5, 1e4
# From this many images on, as a share of the directions, and for few directions, the eigenproblem itself is cheaper.
DIRECT, FEW = 0.3, 256
# Numbers that are held at once.
AT_ONCE = 4_000_000


def lost_root_trace(squares: np.ndarray, z: np.ndarray) -> float:
    """Tr M^1/2 - tr (M - z^T z)^1/2 of M = diag(`squares`) (r,), all above zero, and z (b, r); M >= z^T z."""
    if len(squares) <= FEW or len(z) > DIRECT * len(squares):
        rest = np.linalg.eigvalsh(np.diag(squares) - z.T @ z)
        return float(np.sqrt(squares).sum() - np.sqrt(np.clip(rest, 0, None)).sum())
    singular = np.sqrt(squares)
    first, last = log(LOWEST * singular.mean()), log(HIGHEST * singular.max())
    nodes = np.exp(first + STEP * np.arange(ceil((last - first) / STEP) + 1))
    at_once = max(1, AT_ONCE // z.size)
    parts = (nodes[i : i + at_once] for i in range(0, len(nodes), at_once))
    return -STEP / pi * sum(float(t @ _log_determinants(squares, z, t)) for t in parts)


def _log_determinants(squares: np.ndarray, z: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Log det (1 - Z (M + t^2)^-1 Z^T) at each of the nodes `t` (k,): (k,)."""
    inner = np.eye(len(z)) - (z / (squares + t[:, None, None] ** 2)) @ z.T
    found: np.ndarray = np.linalg.slogdet(inner).logabsdet
    return found


def without_block(rows: np.ndarray, n_left: int) -> np.ndarray:
    """Z of a block: its `rows` (b, r) of Y, mixed so that the mean of the `n_left` other images moves along."""
    b = len(rows)
    share = (np.sqrt(1 + b / n_left) - 1) / b
    mixed: np.ndarray = rows + share * rows.sum(axis=0)
    return mixed

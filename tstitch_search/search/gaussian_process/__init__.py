"""Gaussian process regression on a finite set, exact; every observation has a noise variance of its own.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), whose numbers the modules name. `fit` makes a
`GaussianProcess` of `Observations`.
"""

from tstitch_search.search.gaussian_process.evidence import log_evidence
from tstitch_search.search.gaussian_process.fitting import fit, forget_fits, widening_of
from tstitch_search.search.gaussian_process.observations import MEAN_SD, Observations
from tstitch_search.search.gaussian_process.process import GaussianProcess

__all__ = ["MEAN_SD", "GaussianProcess", "Observations", "fit", "forget_fits", "log_evidence", "widening_of"]

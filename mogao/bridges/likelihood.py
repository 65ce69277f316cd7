"""How likely a given text is; see `mogao.evaluation.likelihood`, which benchmarks of ours share.

In: as there. Out: as there.
"""

from __future__ import annotations

from mogao.evaluation.likelihood import Likelihood, likelihood_of

__all__ = ["Likelihood", "likelihood_of"]

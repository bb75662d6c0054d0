"""How large the changes are that a release's LoRA makes to the base model's modules."""

from __future__ import annotations

import numpy as np

from federation.tensors import SOFT_PROMPT, Tensors, pairs


def spectral_norms(tensors: Tensors) -> dict[str, float]:
    """The largest singular value of B A of each module, of which only the small factors are ever formed.

    With B = Q_B R_B and Aᵀ = Q_A R_A it is that of R_B R_Aᵀ, which is rank by rank.
    """
    norms = {}
    for pair in pairs(name for name in tensors if name != SOFT_PROMPT):
        left, right = np.linalg.qr(tensors[pair.b]).R, np.linalg.qr(tensors[pair.a].T).R
        norms[pair.module] = float(np.linalg.norm(left @ right.T, 2))
    return norms

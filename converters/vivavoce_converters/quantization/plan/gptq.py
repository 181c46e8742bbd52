"""Weights to signed INT8, symmetric, one scale per output channel: matrices (inputs, outputs)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

__all__ = ["gptq", "round_to_nearest", "weight_scales"]

Matrix = NDArray[np.float32]
BLOCK = 128
DAMPING = 1e-4


def weight_scales(weights: Matrix, limit: int) -> NDArray[np.float32]:
    """The scale of each output channel whose largest weight becomes `limit`: 127, or 63 where a bit stays free."""
    return np.asarray(np.maximum(np.abs(weights).max(axis=0), 1e-12) / limit, np.float32)


def round_to_nearest(weights: Matrix, limit: int) -> NDArray[np.int8]:
    """Each weight to the nearest step."""
    return np.asarray(np.clip(np.rint(weights / weight_scales(weights, limit)), -limit, limit), np.int8)


def gptq(weights: Matrix, rows: Matrix, limit: int) -> NDArray[np.int8]:
    """Weights rounded one input after the other, each error made up for by the inputs that are still to come.

    What is kept small is the error of `rows` (n, inputs) times the weights, not that of the weights (Frantar et al., "GPTQ:
    Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023, section 3; arXiv 2210.17323).
    """
    step = weight_scales(weights, limit)
    factor = _factor(rows)
    left = weights.astype(np.float32, copy=True)
    whole = np.zeros(weights.shape, np.int8)
    for start in range(0, len(left), BLOCK):
        end = min(start + BLOCK, len(left))
        errors = np.empty((end - start, left.shape[1]), np.float32)
        for index in range(start, end):
            whole[index] = np.clip(np.rint(left[index] / step), -limit, limit)
            errors[index - start] = (left[index] - whole[index] * step) / factor[index, index]
            left[index:end] -= np.outer(factor[index, index:end], errors[index - start])
        left[end:] -= factor[start:end, end:].T @ errors
    return whole


def _factor(rows: Matrix) -> NDArray[np.float32]:
    """The upper Cholesky factor of the inverse of the damped second moment of the inputs."""
    # Of rows that are nearly alike float32 loses more in the smallest eigenvalues than the damping adds.
    wide = rows.astype(np.float64)
    moment = wide.T @ wide
    size = len(moment)
    moment[np.diag_indices(size)] += DAMPING * np.trace(moment) / size + 1e-12
    lower: NDArray[Any] = cholesky(moment, lower=True)
    inverse = solve_triangular(lower, np.eye(size), lower=True)
    return np.asarray(cholesky(inverse.T @ inverse), np.float32)

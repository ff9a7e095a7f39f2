"""A linear predictor β = (w, uv) of two balls B(±μ, 1), μ = (a, b), whose coordinates grow at different rates."""

import math

import jax
import numpy as np
from scipy.optimize import linprog

from gfsim.problems.data import Dataset


def predictor(theta: np.ndarray | jax.Array) -> np.ndarray:
    """β = (w, uv)."""
    w, u, v = np.asarray(theta)
    return np.array([w, u * v])


def unit(beta: np.ndarray) -> np.ndarray:
    """β/‖β‖."""
    return beta / np.linalg.norm(beta)


def closed_form(a: float, b: float) -> tuple[np.ndarray, float]:
    """Direction and robust margin of min |β_1| subject to β·x ≥ 1 on the ball of radius 1 about (a, b), b < 1."""
    root = math.sqrt(1 - b * b)
    return np.array([root, b]), root * (a - root)


def robust_margin(direction: np.ndarray, a: float, b: float) -> float:
    """The distance from the ball of radius 1 about (a, b) to the decision line."""
    return float(direction @ np.array([a, b])) - 1


def programme(data: Dataset) -> np.ndarray:
    """argmin β_1 subject to β·x_i ≥ 1."""
    inputs = np.asarray(data.inputs)
    return linprog([1.0, 0.0], A_ub=-inputs, b_ub=-np.ones(len(inputs)), bounds=[(None, None)] * 2).x

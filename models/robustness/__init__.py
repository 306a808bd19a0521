"""Robustness: what trained networks lose on perturbed audio, from a study's results."""

from models.robustness.losses import ConditionLoss, Robustness, compare_conditions

__all__ = ["ConditionLoss", "Robustness", "compare_conditions"]

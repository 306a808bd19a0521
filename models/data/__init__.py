"""From a store to what training needs: the only package of this one that touches a store."""

from models.data.conditions import ALL, choose_conditions, clean_specs, conditions_of, under
from models.data.dataset import CACHE_LIMIT, BandStatistics, Clip, ClipDataset, Perturber
from models.data.loader import ClipLoader, loader
from models.data.splits import (
    DRAWN_FOLDS,
    SPLITS,
    TrainingData,
    folds_of,
    has_folds,
    is_split,
    split_rows,
    training_data,
)
from models.data.unlabelled import SoftLabelled, Unlabelled, check_mixing, unlabelled_clips

__all__ = [
    "ALL",
    "CACHE_LIMIT",
    "DRAWN_FOLDS",
    "SPLITS",
    "BandStatistics",
    "Clip",
    "ClipDataset",
    "ClipLoader",
    "Perturber",
    "SoftLabelled",
    "TrainingData",
    "Unlabelled",
    "check_mixing",
    "choose_conditions",
    "clean_specs",
    "conditions_of",
    "folds_of",
    "has_folds",
    "is_split",
    "loader",
    "split_rows",
    "training_data",
    "under",
    "unlabelled_clips",
]

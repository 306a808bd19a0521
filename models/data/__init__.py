"""From a store to what training needs: the only package of this one that touches a store."""

from models.data.dataset import Clip, ClipDataset
from models.data.loader import HOLD_BYTES, ClipLoader, loader
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

__all__ = [
    "DRAWN_FOLDS",
    "HOLD_BYTES",
    "SPLITS",
    "Clip",
    "ClipDataset",
    "ClipLoader",
    "TrainingData",
    "folds_of",
    "has_folds",
    "is_split",
    "loader",
    "split_rows",
    "training_data",
]

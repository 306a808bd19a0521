"""What is stored: specs, encodings, the store's layout, writing and reading it.

Knows nothing of audio, Dask or PyTorch.
"""

from typing import TYPE_CHECKING

from featurestore.specs.mel import FeatureSpec

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

__all__ = ["FeatureSpec", "FeatureStore"]


def __getattr__(name: str) -> object:
    if name == "FeatureStore":  # zarr and pandas are loaded with the first store
        from featurestore.store import FeatureStore

        return FeatureStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

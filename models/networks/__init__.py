"""The networks, one file each, by the names that the command line and the results file use."""

from featurestore.errors import TrainingSettingsError
from models.networks import musicnn, vgg
from models.networks.architecture import Architecture

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        vgg.ARCHITECTURE,
        musicnn.ARCHITECTURE,
        musicnn.ORIGINAL,
    )
}
"""All that can be trained; a new network is a line above."""


def parse_architecture(name: str) -> Architecture:
    """Find the network that a user or a file names.

    Raises
    ------
    TrainingSettingsError
        If there is no such network.
    """
    if name not in ARCHITECTURES:
        raise TrainingSettingsError(
            f"model is {name!r}; it must be one of {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]

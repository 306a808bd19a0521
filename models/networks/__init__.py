"""The networks, a folder a study, a file each, by the names of the command line and results."""

from featurestore.errors import TrainingSettingsError
from models.networks.architecture import Architecture
from models.networks.ferraro2020 import musicnn, vgg
from models.networks.mtat import crnn2d, fcn1d, fcn2d, vit
from models.networks.won2020 import attention, crnn, fcn, short, short_res
from models.networks.won2020 import musicnn as musicnn_smc

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        vgg.ARCHITECTURE,
        musicnn.ARCHITECTURE,
        musicnn.ORIGINAL,
        fcn.ARCHITECTURE,
        crnn.ARCHITECTURE,
        musicnn_smc.ARCHITECTURE,
        short.ARCHITECTURE,
        short_res.ARCHITECTURE,
        attention.ARCHITECTURE,
        vit.ARCHITECTURE,
        fcn1d.ARCHITECTURE,
        fcn2d.ARCHITECTURE,
        crnn2d.ARCHITECTURE,
    )
}
"""All that can be trained; a new network is a line above."""


def parse_architecture(name: str) -> Architecture:
    """Find the network that a user or a file names: ``vgg``, ``fcn1d-depth3``.

    Raises
    ------
    TrainingSettingsError
        If there is no such network.
    """
    found = [
        architecture.with_options(name.removeprefix(known))
        for known, architecture in ARCHITECTURES.items()
        if name.startswith(known)
    ]
    for architecture in found:
        if architecture is not None:
            return architecture
    names = [
        known + "".join(f"[-{word}N]" for word in architecture.options)
        for known, architecture in ARCHITECTURES.items()
    ]
    raise TrainingSettingsError(f"model is {name!r}; it must be one of {', '.join(names)}")

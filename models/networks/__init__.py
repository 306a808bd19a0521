"""The networks, a folder a study, by the names that the command line and results files use."""

from featurestore.errors import TrainingSettingsError
from models.networks.architecture import Architecture
from models.networks.ferraro2020 import musicnn, vgg
from models.networks.mtat import crnn2d, fcn1d, fcn2d, vit
from models.networks.won2020 import attention, crnn, fcn, hcnn, sample, se, short, short_res
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
        sample.ARCHITECTURE,
        se.ARCHITECTURE,
        short.ARCHITECTURE,
        short_res.ARCHITECTURE,
        hcnn.ARCHITECTURE,
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

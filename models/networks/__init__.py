"""The networks, a folder a study, by the names that the command line and results files use."""

from functools import partial

from featurestore.errors import TrainingSettingsError
from models.networks.architecture import Architecture
from models.networks.ferraro2020 import musicnn, vgg
from models.networks.gong2021 import ast
from models.networks.lu2021 import spectnt, spectnt_mwm
from models.networks.mtat import crnn2d, fcn1d, fcn2d, vit
from models.networks.own import is_name, is_reference, load_own
from models.networks.won2020 import attention, crnn, fcn, hcnn, sample, se, short, short_res
from models.networks.won2020 import musicnn as musicnn_smc
from models.networks.won2021 import mtt

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
        ast.ARCHITECTURE,
        mtt.ARCHITECTURE,
        spectnt.ARCHITECTURE,
        spectnt_mwm.ARCHITECTURE,
    )
}
"""All that can be trained; a new network is a line above."""

PUBLISHED = {
    **{module.ARCHITECTURE.name: module.from_published for module in (fcn, crnn, musicnn_smc, ast)},
    "mtt": mtt.from_published,
    "mtt-attention64": partial(mtt.from_published, attention=64),
}
"""Of networks whose weights were published: a state dict as it came to one of the network here."""


def parse_architecture(name: str) -> Architecture:
    """Find the network of a name: ``vgg``, ``fcn1d-depth3``; or in a file, ``my_net.py:MyNet``.

    Such a file is run: ask `models.networks.own.is_reference` where it is not the user who named
    it.

    Raises
    ------
    TrainingSettingsError
        If there is no such network, or what is in the file is none.
    """
    if is_reference(name):
        return load_own(name)
    found = [
        architecture.with_options(name.removeprefix(known))
        for known, architecture in ARCHITECTURES.items()
        if name.startswith(known)
    ]
    for architecture in found:
        if architecture is not None:
            return architecture
    if is_name(name):
        raise TrainingSettingsError(
            f"{name} is a network from a file of its maker's, which only you can name, as it is "
            "run: --model FILE.py:CLASS"
        )
    names = [
        known + "".join(f"[-{word}N]" for word in architecture.options)
        for known, architecture in ARCHITECTURES.items()
    ]
    raise TrainingSettingsError(
        f"model is {name!r}; it must be one of {', '.join(names)}, "
        "or a class in a file of your own, my_net.py:MyNet"
    )

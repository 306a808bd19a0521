"""The kinds of specs, and how a name finds its kind."""

import re
from functools import lru_cache

from featurestore.errors import SpecError
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec

# A line a kind. Names begin with the sample rate, then the kind's word and what it needs.
KINDS: dict[str, type[Spec]] = {
    FeatureSpec.kind: FeatureSpec,
    StftSpec.kind: StftSpec,
    FbankSpec.kind: FbankSpec,
    WaveformSpec.kind: WaveformSpec,
}
"""By the word that follows the sample rate in a spec's name."""

_KIND = re.compile(r"sr\d+-(?P<kind>[a-z]+)", re.ASCII)


def parse_spec(name: str) -> Spec:
    """Read a spec of any kind from its name.

    Raises
    ------
    SpecError
        If `name` is not the name that some spec has.
    """
    match = _KIND.match(name)
    if match is None:
        raise SpecError(f"{name!r} is not a spec's name, such as sr16000-mel48-x2-db")
    kind = KINDS.get(match["kind"])
    if kind is None:
        raise SpecError(
            f"{name!r} is not a spec's name, such as sr16000-mel48-x2-db: "
            f"there is no kind {match['kind']!r}; kinds are {', '.join(KINDS)}"
        )
    return _parsed(kind, name)


@lru_cache(maxsize=2**14)  # a store of 1,000 specs names each many times
def _parsed(kind: type[Spec], name: str) -> Spec:
    return kind.parse(name)

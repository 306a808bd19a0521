"""AST: a transformer over overlapping patches of Kaldi's filter bank, without convolutions before.

The audio spectrogram transformer of Gong, Chung and Glass 2021 (*AST: Audio spectrogram
transformer*), with the numbers that their code and the transformers library agree on. A window of
1024 frames is cut into patches of 16 bands and 16 frames, one every 10; in front of them stand two
tokens, a class's and, from the vision transformer that it began as, a distillation's. The mean of
what 12 layers make of these two goes into a norm and a dense layer.

- Weights have the names that the transformers library writes to disk, so that its checkpoints are
  read as they are. `from_published` knows the names that it uses in memory since its version 5, and
  those of the authors' code, whose layer norms have larger epsilons (1e-6 and 1e-5, here 1e-12): of
  no weight beside float32's rounding.
- Values are cut or filled up with zeros at their end to the length that the network was made for,
  and normalised after that: what is filled up becomes 0.467, as in training. A store fills up
  short clips with silent audio, which the network takes as audio.
- Other numbers of bands and frames have other numbers of patches. `AST.weights_of` adapts the
  positions of a network that was made for others, as the authors' code does.
- Options: ``layers``, and ``hidden``, units of a hidden dense layer between the last norm and the
  outputs, with GELU and dropouts of 0.05 and 0.1, with which the network is transferred; 0 is none.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.fbank import FbankSpec
from models.networks.architecture import Architecture

PATCH, STRIDE = 16, 10
"""Bands and frames of a patch, and from one to the next."""

HEADS, HEAD_UNITS, LAYERS = 12, 64, 12
"""Of the transformer; its feed-forward layers are four times as wide as it is."""

TOKENS = 2
"""In front of the patches."""

MEAN, STD = -4.2677393, 4.5689974
"""Of AudioSet's values, as the authors publish them: inputs become ``(x - MEAN) / (2 STD)``."""

HIDDEN = (0, 50, 100, 200)
"""Units of a hidden dense layer at the end."""

_EPSILON = 1e-12


class AST(nn.Module):
    """AST: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FbankSpec
        What the input is; its bands decide the patches, with `n_frames`.
    n_frames : int
        Frames in a window; fewer than a patch has are filled up to one.
    n_outputs : int
    width : float
        Scales the number of heads, of 64 units each, to the nearest whole number, at least 1.
    layers : int
    hidden : int
        Units of the hidden dense layer before the outputs; 0 is none.

    Attributes
    ----------
    grid : tuple of int
        Patches along the bands and along time.

    Raises
    ------
    TrainingError
        If there are fewer bands than a patch has.
    """

    has_cls: ClassVar[bool] = True
    frames_per_step = STRIDE

    def __init__(
        self,
        spec: FbankSpec,
        *,
        n_frames: int,
        n_outputs: int,
        width: float = 1.0,
        layers: int = LAYERS,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        if spec.n_mels < PATCH:
            raise TrainingError(
                f"ast cannot take {spec.name}: a patch is {PATCH} bands high, and there are "
                f"{spec.n_mels}; use {PATCH} or more"
            )
        self._n_frames = max(n_frames, PATCH)
        self.grid = _patches(spec.n_mels), _patches(self._n_frames)
        n_units = HEAD_UNITS * max(1, round(width * HEADS))
        self.audio_spectrogram_transformer = _Transformer(n_units, self.grid, layers)
        self.classifier = _Classifier(n_units, n_outputs, hidden)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        logits: torch.Tensor = self.classifier(
            self.audio_spectrogram_transformer(self._normalised(values))
        )
        return logits

    def attention(self, values: torch.Tensor) -> torch.Tensor:
        """What tokens pay to each other, `models.networks.attentive.Attentive`, by steps of time.

        The two tokens in front are the first one, and the patches of a step are one: what they pay
        is the mean, what they get the sum.
        """
        inner = self.audio_spectrogram_transformer
        bands, steps = self.grid
        of_patches = torch.eye(1 + steps, device=values.device)[1:].repeat(bands, 1)
        of_tokens = torch.eye(1 + steps, device=values.device)[:1].expand(TOKENS, -1)
        place = torch.cat([of_tokens, of_patches])  # of each token, in one row
        tokens, weights = inner.embeddings(self._normalised(values)), []
        for layer in inner.layers():
            paid = layer.attention.attention.weights(layer.layernorm_before(tokens))
            weights.append((place / place.sum(0)).T @ (paid @ place))
            tokens = layer(tokens)
        return torch.stack(weights, 1)

    def _normalised(self, values: torch.Tensor) -> torch.Tensor:
        """As long as the network was made for, then normalised."""
        # Cut where there are more.
        filled = nn.functional.pad(values, (0, self._n_frames - values.shape[-1]))
        return (filled - MEAN) / (2 * STD)

    def weights_of(self, other: Self) -> dict[str, torch.Tensor]:
        """Weights of another AST, its positions adapted to the patches of this one.

        See `adapt_positions`.
        """
        weights = other.state_dict()
        name = "audio_spectrogram_transformer.embeddings.position_embeddings"
        return weights | {name: adapt_positions(weights[name], other.grid, self.grid)}


class _Transformer(nn.Module):
    """Normalised values ``(batch, n_mels, n_frames)`` to the mean of the two tokens."""

    def __init__(self, n_units: int, grid: tuple[int, int], layers: int) -> None:
        super().__init__()
        self.embeddings = _Embeddings(n_units, grid)
        blocks = nn.Sequential(*(_Layer(n_units) for _ in range(layers)))
        self.encoder = nn.Sequential(OrderedDict(layer=blocks))
        self.layernorm = nn.LayerNorm(n_units, eps=_EPSILON)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        # A norm is of each token by itself: of the others, nobody asks.
        tokens = self.layernorm(self.encoder(self.embeddings(values))[:, :TOKENS])
        mean: torch.Tensor = tokens.mean(1)
        return mean

    def layers(self) -> "Iterator[_Layer]":
        """In their order."""
        return (layer for layer in self.encoder.modules() if isinstance(layer, _Layer))


class _Embeddings(nn.Module):
    """Values to tokens: the two, then patches, of the lowest bands first, with their positions."""

    def __init__(self, n_units: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, n_units))
        self.distillation_token = nn.Parameter(torch.empty(1, 1, n_units))
        n_tokens = TOKENS + grid[0] * grid[1]
        self.position_embeddings = nn.Parameter(torch.empty(1, n_tokens, n_units))
        for values in (self.cls_token, self.distillation_token, self.position_embeddings):
            nn.init.normal_(values, std=0.02)
        projection = nn.Conv2d(1, n_units, PATCH, stride=STRIDE)
        self.patch_embeddings = nn.Sequential(OrderedDict(projection=projection))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embeddings(values.unsqueeze(1)).flatten(2).transpose(1, 2)
        tokens = (self.cls_token, self.distillation_token)
        first = [token.expand(values.shape[0], -1, -1) for token in tokens]
        return torch.cat([*first, patches], 1) + self.position_embeddings


class _Layer(nn.Module):
    """Self-attention and feed-forward, each of what is normalised, and added to what is not."""

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.attention = _Attention(n_units)
        self.intermediate = _dense(n_units, 4 * n_units)
        self.output = _dense(4 * n_units, n_units)
        self.layernorm_before = nn.LayerNorm(n_units, eps=_EPSILON)
        self.layernorm_after = nn.LayerNorm(n_units, eps=_EPSILON)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(self.layernorm_before(tokens))
        inner = nn.functional.gelu(self.intermediate(self.layernorm_after(tokens)))
        added: torch.Tensor = tokens + self.output(inner)
        return added


class _Attention(nn.Module):
    """Attention of all tokens to all, and the dense layer after it."""

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.attention = _Heads(n_units)
        self.output = _dense(n_units, n_units)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.output(self.attention(tokens))
        return projected


class _Heads(nn.Module):
    """Heads of 64 units each, side by side."""

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(n_units, n_units) for _ in range(3))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self._of_heads(tokens)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2)

    def weights(self, tokens: torch.Tensor) -> torch.Tensor:
        """What `tokens` pay to each other: ``(batch, n_heads, n_tokens, n_tokens)``."""
        query, key, _ = self._of_heads(tokens)
        return (query @ key.mT / math.sqrt(HEAD_UNITS)).softmax(-1)

    def _of_heads(self, tokens: torch.Tensor) -> Iterator[torch.Tensor]:
        """Queries, keys and values: each ``(batch, n_heads, n_tokens, 64)``."""
        for layer in (self.query, self.key, self.value):
            yield layer(tokens).unflatten(2, (-1, HEAD_UNITS)).transpose(1, 2)

    def macs(self, output: torch.Tensor) -> int:
        """Multiply-accumulates, for `models.networks.cost`: queries by keys, shares by values."""
        return 2 * output.numel() * output.shape[1]


class _Classifier(nn.Module):
    """The last norm, and what makes outputs of it."""

    def __init__(self, n_units: int, n_outputs: int, hidden: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(n_units, eps=_EPSILON)
        self.dense = (
            nn.Sequential(
                nn.Dropout(0.05),
                nn.Linear(n_units, hidden),
                nn.GELU(),
                nn.Dropout(0.1),
                nn.Linear(hidden, n_outputs),
            )
            if hidden
            else nn.Linear(n_units, n_outputs)
        )

    def forward(self, gathered: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.dense(self.layernorm(gathered))
        return logits


def _dense(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(dense=nn.Linear(n_in, n_out)))


def _patches(n: int) -> int:
    """Patches along an axis of `n` bands or frames."""
    return (n - PATCH) // STRIDE + 1


def adapt_positions(
    positions: torch.Tensor, old: tuple[int, int], new: tuple[int, int]
) -> torch.Tensor:
    """Positions of `old` patches, for `new` ones.

    Along time, then along the bands, as the authors' code has it: of more than are needed those in
    the middle are taken, fewer are interpolated (bilinear). The two tokens' stay as they are.

    Parameters
    ----------
    positions : torch.Tensor [shape=(1, 2 + old[0] * old[1], n_units)]
    old, new : tuple of int
        Patches along the bands and along time.
    """
    tokens, patches = positions[:, :TOKENS], positions[:, TOKENS:]
    grid = patches.transpose(1, 2).reshape(1, -1, *old)
    for axis in (1, 0):
        if new[axis] <= old[axis]:
            first = old[axis] // 2 - new[axis] // 2
            grid = grid.narrow(2 + axis, first, new[axis])
        else:
            size = [int(n) for n in grid.shape[2:]]
            size[axis] = new[axis]
            grid = nn.functional.interpolate(grid, size=size, mode="bilinear")
    return torch.cat([tokens, grid.flatten(2).transpose(1, 2)], 1)


_PREFIX = "audio_spectrogram_transformer."

_IN_MEMORY = {
    r"layers\.": "encoder.layer.",
    r"attention\.(q|k|v)_proj\.": r"attention.attention.\1.",
    r"attention\.o_proj\.": "attention.output.dense.",
    r"mlp\.fc1\.": "intermediate.dense.",
    r"mlp\.fc2\.": "output.dense.",
}
"""Names of transformers 5 in memory, within the network, and those on disk."""

_AUTHORS = {
    r"cls_token": "embeddings.cls_token",
    r"dist_token": "embeddings.distillation_token",
    r"pos_embed": "embeddings.position_embeddings",
    r"patch_embed\.proj\.": "embeddings.patch_embeddings.projection.",
    r"blocks\.": "encoder.layer.",
    r"norm\.": "layernorm.",
    r"(\d+\.)norm1\.": r"\1layernorm_before.",
    r"(\d+\.)norm2\.": r"\1layernorm_after.",
    r"attn\.(q|k|v)\.": r"attention.attention.\1.",
    r"attn\.proj\.": "attention.output.dense.",
    r"mlp\.fc1\.": "intermediate.dense.",
    r"mlp\.fc2\.": "output.dense.",
}
"""Names of the authors' code, within ``v.``, once its ``qkv`` is split."""

_LETTERS = {".q.": ".query.", ".k.": ".key.", ".v.": ".value."}

_UNUSED = re.compile(r"v\.head(_dist)?\.(weight|bias)")
"""Of the vision transformer that the authors' code builds on: its 1000 classes."""


def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give published weights the names that they have here.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        Weights by the names that the transformers library writes, that it has in memory since its
        version 5 (those of ``ASTForAudioClassification``), or that the authors' code has.

    Raises
    ------
    TrainingError
        If they are of none of these.
    """
    state = {name.removeprefix("module."): values for name, values in state.items()}
    if any(name.startswith("v.") for name in state):
        return _from_authors(state)
    if not any(name.startswith(_PREFIX) for name in state):
        raise TrainingError(
            "these are not the published weights of ast: their names are neither those of "
            "transformers' ASTForAudioClassification nor of the authors' code; choose the network "
            "that they are of"
        )
    return {
        _PREFIX + _renamed(name.removeprefix(_PREFIX), _IN_MEMORY)
        if name.startswith(_PREFIX)
        else name: values
        for name, values in state.items()
    }


def published_frames(weights: Mapping[str, torch.Tensor], n_mels: int) -> int:
    """Frames that weights were made for: the most with as many positions.

    Raises
    ------
    TrainingError
        If there are no positions, or they are not those of `n_mels` bands.
    """
    positions = weights.get(f"{_PREFIX}embeddings.position_embeddings", torch.empty(1, 0, 1))
    n_patches = positions.shape[1] - TOKENS
    if n_patches < 1 or n_patches % _patches(n_mels):
        raise TrainingError(
            f"these are not the published weights of ast: {positions.shape[1]} positions are not "
            f"those of {TOKENS} tokens and {_patches(n_mels)} patches along {n_mels} bands"
        )
    return PATCH + STRIDE * (n_patches // _patches(n_mels)) - 1


def _from_authors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, values in state.items():
        if _UNUSED.fullmatch(name):
            continue
        if not name.startswith("v."):
            layer = {"mlp_head.0.": "classifier.layernorm.", "mlp_head.1.": "classifier.dense."}
            found[_renamed(name, {re.escape(key): here for key, here in layer.items()})] = values
            continue
        name = name.removeprefix("v.")
        parts = {name: values}
        if ".qkv." in name:
            names = (name.replace(".qkv.", f".{letter}.") for letter in "qkv")
            parts = dict(zip(names, values.chunk(3), strict=True))
        for part, of_part in parts.items():
            found[_PREFIX + _renamed(part, _AUTHORS)] = of_part
    return found


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for theirs, here in names.items():
        name = re.sub(rf"(?<![a-z_]){theirs}", here, name)
    if ".attention.attention." in name:
        for letter, word in _LETTERS.items():
            name = name.replace(letter, word)
    return name


ARCHITECTURE = Architecture(
    name="ast",
    build=AST,
    accepts=FbankSpec,
    takes=FbankSpec(sr=16000),
    window=10.255,
    is_centred=True,
    needs_unit=True,
    options={"layers": (LAYERS, *range(1, LAYERS)), "hidden": HIDDEN},
    head="classifier.dense",
    adapts="output.dense",
)

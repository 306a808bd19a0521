"""What tests of several packages share: hypothesis' settings, stores and audio files."""

import dataclasses
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, settings

from featurestore.format.clips import ClipTable
from featurestore.format.commits import PENDING, ClipRecord, Commit, read_commit, write_commit
from featurestore.format.division import Division
from featurestore.format.layout import Layout
from featurestore.format.shard import Clip
from featurestore.format.statistics import Statistics, statistics_of
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec
from featurestore.specs.waveform import WaveformSpec
from featurestore.store import FeatureStore
from featurestore.writer import StoreWriter, write_shard

# The same examples each time, and no deadline: CI must not fail by chance or by load.
settings.register_profile(
    "default",
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile("default")

SR = 8000
WINDOW = Excerpt(duration=0.5)  # 4000 samples: 16 frames at x1, 8 at x2
SPECS = (
    FeatureSpec(sr=SR, n_mels=16, hop=1, log="db"),
    FeatureSpec(sr=SR, n_mels=8, hop=2, log="db"),
    FeatureSpec(sr=SR, n_mels=8, hop=2, log="log"),
)

WAVE = WaveformSpec(sr=44100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreMaker:
    """Makes stores with the real writer; the values are noise that the id and spec determine.

    Parameters
    ----------
    folder : Path
        Where the stores are made.
    """

    folder: Path

    def __call__(
        self,
        name: str = "store.zarr",
        *,
        ids: Sequence[str] = tuple(f"clip {i:02}" for i in range(20)),
        specs: Sequence[Spec] = SPECS,
        tags: Sequence[str] = ("drums", "loud"),
        encoding: Encoding = Encoding(),
        codec: Codec = Codec(),
        clips_per_shard: int = 8,
        failed: Collection[int] = (5,),
        pending: Collection[int] = (13,),
        settings: dict[str, str] | None = None,
        catalog: str = "noise",
        shards_per_part: int | None = None,
        prune: bool = False,
    ) -> FeatureStore:
        """Make a store, or go on with it as a run would: add what it lacks, and publish."""
        wanted = self.layouts(specs, encoding, codec, clips_per_shard, settings)
        division = Division.of(clips_per_shard)
        if shards_per_part is not None:
            division = dataclasses.replace(division, shards_per_part=shards_per_part)
        with StoreWriter(self.folder / name, WINDOW, division) as writer:
            store = writer.prepare(self.table(ids, tags), wanted, catalog, prune=prune)
            layouts = [store.layouts[spec] for spec in specs]
            for shard in range(store.metadata.division.n_shards(store.n_clips)):
                self._fill(store, layouts, shard, failed, pending)
            return writer.publish()

    def layouts(
        self,
        specs: Sequence[Spec] = SPECS,
        encoding: Encoding = Encoding(),
        codec: Codec = Codec(),
        clips_per_shard: int = 8,
        settings: dict[str, str] | None = None,
    ) -> list[Layout]:
        return [
            Layout(
                spec=spec,
                encoding=encoding,
                codec=codec,
                clips_per_shard=clips_per_shard,
                n_frames=spec.n_frames(WINDOW.n_samples(spec.sr)),
                settings={"backend": "noise"} if settings is None else settings,
            )
            for spec in specs
        ]

    def table(
        self, ids: Sequence[str], tags: Sequence[str] = ("drums", "loud"), album: str = "noise"
    ) -> ClipTable:
        """Splits and folds go round by the row; a clip has tag t if bit t of its id's hash is 1."""
        bits = [[zlib.crc32(i.encode()) >> t & 1 for t in range(len(tags))] for i in ids]
        return ClipTable(
            clip_id=list(ids),
            path=[f"{i}.wav" for i in ids],
            split=[("train", "train", "validation", "test")[row % 4] for row in range(len(ids))],
            artist=[f"artist {row % 3}" for row in range(len(ids))],
            album=[album] * len(ids),
            fold=np.arange(len(ids), dtype=np.int16) % 5,
            tile=np.zeros(len(ids), np.int32),
            active=np.ones(len(ids), np.bool_),
            tags=tuple(tags),
            labels=np.array(bits, np.uint8).reshape(len(ids), len(tags)),
        )

    def values(self, clip_id: str, layout: Layout) -> np.ndarray:
        """What is put into the store: float32 (n_bands, n_frames)."""
        seed = zlib.crc32(f"{clip_id} {layout.spec.name}".encode())
        low, high = (-100, 40) if layout.spec.kind == "mel" else layout.spec.value_range
        return np.random.default_rng(seed).uniform(low, high, layout.clip_shape).astype(np.float32)

    def expected(self, clip_id: str, layout: Layout) -> np.ndarray:
        """What is read back: the same, rounded to the encoding."""
        stored = layout.encoding.encode(self.values(clip_id, layout), layout.spec.value_range)
        decoded = np.empty(layout.clip_shape, np.float32)
        layout.encoding.decode(stored, decoded, layout.spec.value_range)
        return decoded

    def row(self, clip_id: str, layout: Layout) -> tuple[Clip, Statistics]:
        """What lies in the shard, and its statistics."""
        values = self.values(clip_id, layout)
        stored = layout.encoding.encode(values, layout.spec.value_range)
        n_valid = layout.n_valid_frames(np.array([22050]), np.array([44100]), np.array([0]))[0]
        return layout.chunks_of(stored), statistics_of(values[:, :n_valid])

    def record(self, clip_id: str) -> ClipRecord:
        digest = f"{clip_id} digest".encode("ascii", "replace").decode()
        return ClipRecord(status="ready", sr=44100, start=7, n_valid=22050, digest=digest, size=1)

    def _fill(
        self,
        store: FeatureStore,
        layouts: Sequence[Layout],
        shard: int,
        failed: Collection[int],
        pending: Collection[int],
    ) -> None:
        division = store.metadata.division
        length = division.clips_per_shard
        rows = range(store.n_clips)[shard * length : (shard + 1) * length]
        ids = {row: store.table.clip_id[row] for row in rows}
        there = [None if row in failed or row in pending else ids[row] for row in rows]
        written = {
            layout.spec.name: write_shard(
                store.files,
                layout,
                shard,
                [None if i is None else self.row(i, layout) for i in there],
            )
            for layout in layouts
        }
        records = [
            ClipRecord(status="failed", reason="EmptyFile", detail="0 bytes")
            if row in failed
            else PENDING
            if row in pending
            else self.record(ids[row])
            for row in rows
        ]
        before = read_commit(store.files, division, shard)
        grown = bytes(8 * (len(rows) - len(before.clips)))
        specs = {name: checksums + grown for name, checksums in before.specs.items()} | written
        commit = Commit(clips=tuple(records), specs=specs, software={"melgrid": "test"})
        write_commit(store.files, division, shard, commit)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        action="store_true",
        help="Run the long versions too: more kills, more injured files, all specs.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--thorough"):
        settings.load_profile("thorough")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--thorough"):
        return
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker(pytest.mark.skip(reason="only with --thorough"))


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether the long versions are wanted."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture(autouse=True, scope="session")
def _no_fsync() -> Iterator[None]:
    """Tests cut no power; waiting for the disk takes most of their time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def make_store(tmp_path: Path) -> StoreMaker:
    return StoreMaker(folder=tmp_path)


@pytest.fixture
def tiny_store(make_store: StoreMaker) -> FeatureStore:
    """20 clips in shards of 8, two tags, four splits, five folds, three specs.

    Row 5 failed, row 13 is pending, all others are ready.
    """
    return make_store()


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The same as `tiny_store`, for tests that only read."""
    return StoreMaker(folder=tmp_path_factory.mktemp("shared"))()


@pytest.fixture(scope="session")
def wave_store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """`shared_store` with waveforms of 22050 samples, which are three chunks a clip, in int16."""
    maker = StoreMaker(folder=tmp_path_factory.mktemp("waves"))
    return maker(specs=[WAVE], encoding=Encoding(name="int16"))


@pytest.fixture(scope="session")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noise, 1 to 2 s each, in every format; not to be written to.

    ``<sr>-<channels>.<format>``; the values differ from file to file.
    """
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(21)
    for number, (name, sr, channels) in enumerate(
        (
            ("16000-1.wav", 16000, 1),
            ("44100-2.wav", 44100, 2),
            ("44100-2.flac", 44100, 2),
            ("22050-1.ogg", 22050, 1),
            ("16000-1.mp3", 16000, 1),
            ("44100-2.mp3", 44100, 2),
        )
    ):
        n_samples = int((1 + number / 6) * sr)
        samples = rng.uniform(-0.5, 0.5, (n_samples, channels)).astype(np.float32)
        soundfile.write(folder / name, samples, sr)
    return folder


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a running Dask scheduler with two worker processes."""
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster.scheduler_address

"""docs/FORMAT.md is true: stores are read by what it says, without melgrid."""

import base64
import dataclasses
import hashlib
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np
import pytest
import xarray

from featurestore.errors import StoreFormatError
from featurestore.format.columns import TABLE
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.waveform import WaveformSpec
from featurestore.store import FeatureStore
from featurestore.writer import StoreWriter

FORMAT = Path(__file__).parents[1] / "docs" / "FORMAT.md"
ENCODINGS = ["float32", "float16", "uint8"]
WAVE = WaveformSpec(sr=44100)
"""Of 0.5 s, 22050 samples: three chunks a clip, the last one not full."""


@pytest.fixture(params=[*ENCODINGS, "int16"])
def store(request, make_store):
    """Of uint8, one of three parts; of int16, one of waveforms."""
    if request.param == "int16":
        return make_store(specs=[WAVE], encoding=Encoding(name="int16"))
    shards_per_part = 1 if request.param == "uint8" else None
    return make_store(encoding=Encoding(name=request.param), shards_per_part=shards_per_part)


_OTHERS_READ = """
import sys
sys.modules["featurestore"] = None  # not to be had
{reader}
path, out, names = sys.argv[1], sys.argv[2], sys.argv[3:]
root, about = open_store(path)
clips, labels = read_clips(root, about)
found = {{f"clips/{{key}}": np.array(list(column)) for key, column in clips.items()}}
found |= {{f"labels/{{tag}}": column for tag, column in labels.items()}}
for name in names:
    ready = found[f"{{name}}/ready"] = read_ready(root, about, name)
    found[f"{{name}}/values"] = np.stack(
        [read_values(root, name, row) for row in np.flatnonzero(ready)]
    )
np.savez(out, **found)
"""


def test_the_pages_own_reader_finds_values_tags_and_readiness(store, tmp_path):
    [reader] = re.findall(r"```python\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    names = [spec.name for spec in store.specs]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _OTHERS_READ.format(reader=reader),
         store.path, str(tmp_path / "found.npz"), *names],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    with np.load(tmp_path / "found.npz") as found:
        for column in ("clip_id", "path", "split", "fold", "active"):
            assert found[f"clips/{column}"].tolist() == store.clips[column].tolist()
        for tag in store.tags:
            np.testing.assert_array_equal(found[f"labels/{tag}"], store.clips[tag])
        for spec in store.specs:
            array = store[spec]
            np.testing.assert_array_equal(found[f"{spec.name}/ready"], array.ready)
            rows = np.flatnonzero(array.ready)
            np.testing.assert_array_equal(found[f"{spec.name}/values"], array.read(rows))


def test_the_pages_own_reader_refuses_a_newer_format(make_store):
    [reader] = re.findall(r"```python\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    path = Path(make_store().path)
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["melgrid"]["format"] = 2
    (path / "zarr.json").write_text(json.dumps(root))
    program = f"{reader}\nopen_store({str(path)!r})"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "has format 2; this reader knows 1" in said.stderr
    with pytest.raises(StoreFormatError, match="has format 2; this melgrid reads format 1"):
        FeatureStore.open(path)


def crc32c(data):
    return google_crc32c.value(data)


def opened(data):
    """Bytes without the CRC-32C at their end, which must be right."""
    assert crc32c(data[:-4]) == int.from_bytes(data[-4:], "little")
    return data[:-4]


def text_of(path, key):
    body = opened((path / key).read_bytes())
    count, size = struct.unpack_from("<II", body)
    assert (count, len(body)) == (1, 8 + size)
    return json.loads(body[8:])


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize(
    ("encoding", "per_part"), [("float32", 8192), ("float16", 2), ("uint8", 1), ("int16", 8192)]
)
def test_bytes_lie_as_the_page_says(make_store, encoding, per_part, codec):
    """Shards, indices, chunks, statistics, commit records and row checksums, without Zarr."""
    store = make_store(
        **({"specs": [WAVE]} if encoding == "int16" else {}),
        encoding=Encoding(name=encoding),
        codec=Codec(name=codec),
        shards_per_part=per_part,
    )
    path, n_found = Path(store.path), 0
    for spec in store.specs:
        about = json.loads((path / spec.name / "zarr.json").read_text())["attributes"]["melgrid"]
        values = json.loads((path / spec.name / "values/zarr.json").read_text())
        attrs, [sharding] = values["attributes"], values["codecs"]
        length, shape = about["clips_per_shard"], (values["shape"][1], about["n_frames"])
        _, n_bands, in_chunk = sharding["configuration"]["chunk_shape"]
        n_chunks = -(-about["n_frames"] // in_chunk)
        assert n_chunks == (3 if encoding == "int16" else 1)
        for shard in range(-(-store.n_clips // length)):
            record = text_of(path, f"commits/c/{shard // per_part}/{shard % per_part}")
            assert record["shard"] == shard
            checksums = base64.b64decode(record["specs"][spec.name])
            data = (path / spec.name / f"values/c/{shard}/0/0").read_bytes()
            end = len(data) - 16 * n_chunks * length - 4
            index = np.frombuffer(opened(data[end:]), "<u8").reshape(length, n_chunks, 2)
            if n_chunks > 1:
                listed = opened(data[end - 4 * n_chunks * length - 4 : end])
                listed = np.frombuffer(listed, "<u4").reshape(length, n_chunks)
            packed = (path / spec.name / f"statistics/c/{shard}/0/0").read_bytes()
            statistics = np.frombuffer(opened(packed), "<f4").reshape(length, 3, shape[0])
            for position, status in enumerate(record["clips"]["status"]):
                row = shard * length + position
                checksum = int.from_bytes(checksums[8 * position :][:8], "little")
                assert (status == "ready" and checksum != 0) == store[spec].ready[row]
                if status != "ready":
                    assert index[position].tolist() == [[2**64 - 1] * 2] * n_chunks
                    assert np.isnan(statistics[position]).all()
                    continue
                chunks = [data[offset : offset + size] for offset, size in index[position].tolist()]
                own = crc32c(statistics[position].tobytes()) or 1
                first = chunks[0][-4:]
                if n_chunks > 1:
                    assert [chunk[-4:] for chunk in chunks] == [
                        int(crc).to_bytes(4, "little") for crc in listed[position]
                    ]
                    first = crc32c(b"".join(chunk[-4:] for chunk in chunks)).to_bytes(4, "little")
                assert first + own.to_bytes(4, "little") == checksum.to_bytes(8, "little")
                parts = []
                for body in map(opened, chunks):
                    raw = body if codec == "none" else numcodecs.blosc.decompress(body)
                    part = np.frombuffer(raw, np.dtype(encoding).newbyteorder("<"))
                    parts.append(part.reshape(n_bands, in_chunk))
                clip = np.concatenate(parts, axis=1)
                assert (clip[:, shape[1] :] == values["fill_value"]).all()
                clip = clip[:, : shape[1]]
                if encoding in ("uint8", "int16"):
                    clip = clip * np.float32(attrs["scale_factor"])
                    clip += np.float32(attrs["add_offset"])
                np.testing.assert_array_equal(clip, store[spec][row])
                sr, n_valid = record["clips"]["sr"][position], record["clips"]["n_valid"][position]
                if encoding == "int16":
                    audio = min(shape[1], -(-n_valid * about["sr"] // sr))
                else:
                    audio = min(shape[1], 1 + n_valid * about["sr"] // (sr * about["hop_length"]))
                assert audio == store[spec].n_valid_frames[row]
                n_found += 1
    assert n_found == len(store.specs) * 18


def digest_over(path, keys):
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(keys):
        data = (path / key).read_bytes()
        digest.update(key.encode() + b"\0" + str(len(data)).encode() + b"\0" + data)
    return digest.hexdigest()


def table_digest(path, common):
    """Of the clip table: its files of no part, and the digests in the manifests as if files."""
    files = {key: (path / key).read_bytes() for key in [*common, "clips/zarr.json"]}
    for key in keys_below(path, "parts/c"):
        files[key] = text_of(path, key)["table"].encode()
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(files):
        digest.update(key.encode() + b"\0" + str(len(files[key])).encode() + b"\0" + files[key])
    return digest.hexdigest()


def by_kind(path, columns):
    """Keys of columns: metadata with the chunk of `tag`, and the chunks of rows."""
    keys = [key for column in columns for key in keys_below(path, f"clips/{column}")]
    common = [k for k in keys if k.endswith("zarr.json") or k.startswith("clips/tag/")]
    return common, [key for key in keys if key not in common]


def of_part(chunks, number):
    """Keys of a part's chunks: the name after `c`."""
    return [key for key in chunks if key.split("/")[3] == str(number)]


def keys_below(path, folder):
    return [str(file.relative_to(path)) for file in (path / folder).rglob("*") if file.is_file()]


@pytest.mark.parametrize("shards_per_part", [8192, 2, 1])
def test_digests_are_as_the_page_says(make_store, shards_per_part):
    store = make_store(shards_per_part=shards_per_part)
    path, n_parts = Path(store.path), -(-3 // shards_per_part)
    about = json.loads((path / "zarr.json").read_text())["attributes"]["melgrid"]
    own = about.pop("digest")
    text = json.dumps(about, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert hashlib.blake2b(text.encode(), digest_size=16).hexdigest() == own
    for spec in store.specs:
        chunks = (f"{spec.name}/values/c/", f"{spec.name}/statistics/c/")
        keys = [key for key in keys_below(path, spec.name) if not key.startswith(chunks)]
        assert digest_over(path, keys) == about["digests"][spec.name]
    columns = ["clip_id", "path", "split", "artist", "album", "fold", "tile", "active"]
    columns += ["tag", "labels"]
    parts = [text_of(path, f"parts/c/{number}") for number in range(n_parts)]
    assert [part["number"] for part in parts] == [*range(n_parts)]
    assert [part["n_rows"] for part in parts] == {1: [20], 2: [16, 4], 3: [8, 8, 4]}[n_parts]
    shards = [shard for part in parts for a, b in part["records"] for shard in range(a, b)]
    assert shards == [0, 1, 2]
    common, chunks = by_kind(path, columns)
    assert table_digest(path, common) == about["digests"][TABLE]
    for part in parts:
        assert digest_over(path, of_part(chunks, part["number"])) == part["table"]
    columns = [
        "status",
        "reason",
        "sr",
        "start",
        "n_valid",
        "n_track",
        "peak",
        "n_clipped",
        "decoder",
        "digest",
    ]
    common, chunks = by_kind(path, columns)
    assert digest_over(path, common) == about["digests"]["clips/status"]
    for part in parts:
        assert digest_over(path, of_part(chunks, part["number"])) == part["status"]
    for name in ("commits", "parts"):
        assert digest_over(path, [f"{name}/zarr.json"]) == about["digests"][name]


def test_metadata_lie_and_are_covered_as_the_page_says(make_store):
    table = dataclasses.replace(
        make_store.table(["a", "b"]),
        meta={"year": np.array([1999, 2000]), "BPM (beats)": np.array([np.nan, 0.5])},
    )
    with StoreWriter(make_store.folder / "m.zarr", Excerpt(duration=0.5)) as writer:
        writer.prepare(table, make_store.layouts())
        path = Path(writer.publish().path)
    about = json.loads((path / "zarr.json").read_text())["attributes"]["melgrid"]
    group = json.loads((path / "clips" / "zarr.json").read_text())["attributes"]["melgrid"]
    assert group == {"meta": ["year", "BPM (beats)"]}
    columns = ["clip_id", "path", "split", "artist", "album", "fold", "tile", "active", "tag"]
    columns += ["labels", *group["meta"]]
    common, chunks = by_kind(path, columns)
    assert table_digest(path, common) == about["digests"][TABLE]
    assert digest_over(path, chunks) == text_of(path, "parts/c/0")["table"]
    for word in (*group, "dimension `clip`", "int64", "float64"):
        assert word in FORMAT.read_text()


def test_every_attribute_and_column_is_on_the_page(store):
    page = FORMAT.read_text()
    path = Path(store.path)
    root = json.loads((path / "zarr.json").read_text())["attributes"]["melgrid"]
    name = next(iter(root["specs"]))
    spec = json.loads((path / name / "zarr.json").read_text())["attributes"]["melgrid"]
    record, part = text_of(path, "commits/c/0/0"), text_of(path, "parts/c/0")
    columns = [folder.name for folder in (path / "clips").iterdir() if folder.is_dir()]
    for name in [*root, *root["window"], *spec, *part, *record, *record["clips"], *columns]:
        assert f"`{name}`" in page, name


_TENSORSTORE_READS = """
import json, sys
import numpy as np
import tensorstore
out, path, *names = sys.argv[1:]
found = {}
for name in names:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/{name}/values/"}}
    array = tensorstore.open(spec, read=True, open=True).result()
    assert array.domain.labels[::2] == ("clip", "time"), array.domain
    found[name] = array.read().result().astype(np.float32)
np.savez(out, **found)
"""


def test_tensorstore_reads_values_that_the_cf_attributes_decode(store, tmp_path):
    """In a process of its own: TensorStore's threads do not survive a fork."""
    names = [spec.name for spec in store.specs]
    subprocess.run(
        [sys.executable, "-c", _TENSORSTORE_READS, str(tmp_path / "found.npz"), store.path, *names],
        cwd=tmp_path,
        check=True,
    )
    with np.load(tmp_path / "found.npz") as found:
        for spec in store.specs:
            metadata = json.loads((Path(store.path) / spec.name / "values/zarr.json").read_text())
            attrs = metadata["attributes"]
            values = found[spec.name]
            if "scale_factor" in attrs:
                values = values * np.float32(attrs["scale_factor"])
                values += np.float32(attrs["add_offset"])
            rows = np.flatnonzero(store[spec].ready)
            np.testing.assert_array_equal(values[rows], store[spec].read(rows))


def test_xarray_gives_decoded_and_labelled_values(store):
    for spec in store.specs:
        opened = xarray.open_zarr(store.path, group=spec.name, consolidated=False, chunks=None)
        with opened as dataset:
            values = dataset["values"]
            assert values.dims == ("clip", *spec.axes)
            assert values.attrs["units"] == spec.unit
            for axis in spec.coordinates(store[spec].shape[2]):
                np.testing.assert_array_equal(dataset[axis.name], axis.values)
                assert dataset[axis.name].attrs["units"] == axis.unit
            rows = np.flatnonzero(store[spec].ready)
            # Of uint8 it decodes in float64; melgrid's float32 rounds twice below 128.
            tolerance = np.spacing(np.float32(100)) * 2 if store[spec].encoding == "uint8" else 0
            decoded = values[rows].to_numpy()
            np.testing.assert_allclose(decoded, store[spec].read(rows), atol=tolerance, rtol=0)
            assert np.isnan(values[[5, 13]]).all()
            if spec.kind == "mel":
                nearest = values.sel(mel=1000, method="nearest")
                assert abs(float(nearest["mel"]) - 1000) < 500

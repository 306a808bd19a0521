import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from featurestore.errors import RowNotReadyError, SettingsError
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from pipeline.sonify.listening import spread_over_tags, write_listening_page


class Page(HTMLParser):
    """Every element of a page, and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def decoded(uri, kind):
    head, data = uri.split(",", 1)
    assert head == f"data:{kind};base64"
    return base64.b64decode(data)


def test_a_page_plays_each_clip_at_each_spec_beside_its_picture(shared_store, tmp_path):
    path = write_listening_page(shared_store, tmp_path / "new", n_clips=2, method="noise").path
    assert path == tmp_path / "new" / "listen.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("section")) == 2
    assert re.findall(r"<code>(.*?)</code>", text) == [
        "sr8000-mel16-x1-db", "sr8000-mel8-x2-db", "sr8000-mel8-x2-log",
    ] * 2  # fmt: skip
    assert "<h3>" not in text  # one condition: all cards of a clip are beside each other
    for audio in page.all("audio"):
        samples, sr = soundfile.read(io.BytesIO(decoded(audio["src"], "audio/mpeg")))
        assert sr == 8000
        assert len(samples) == pytest.approx(4000, abs=2000)
        assert "controls" in audio
    for image in page.all("img"):
        assert decoded(image["src"], "image/png").startswith(b"\x89PNG")
    assert "16 bands, 31.25 frames/s = 500 values/s" in text
    assert re.search(r"kB per clip in float16", text)
    assert list(tmp_path.glob("new/*")) == [path]


def test_a_page_refers_to_nothing_outside_itself(shared_store, tmp_path):
    path = write_listening_page(shared_store, tmp_path, n_clips=1, method="noise").path
    text = path.read_text(encoding="utf-8")
    for _, attributes in Page(text).elements:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "default-src 'none'" in text
    assert "//" not in re.sub(r"base64,[^\"]*|// One at a time.*", "", text)


def test_ids_and_tags_are_text_and_no_markup(make_store, tmp_path):
    ids = ["<script>alert(1)</script>", "b{clip}&amp;"]
    store = make_store(
        ids=ids, tags=("<b>loud</b>", '"drums"', "x{}"), catalog="<i>c</i>", failed=(), pending=()
    )
    path = write_listening_page(store, tmp_path, n_clips=2, method="noise").path
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    assert page.all("b") == page.all("i") == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "b{clip}&amp;amp;" in text


def test_sounds_at_rates_that_mp3_lacks_are_flac(make_store, tmp_path):
    spec = FeatureSpec(sr=10000, n_mels=8, hop=2, log="db")
    store = make_store(ids=["a"], specs=[spec], failed=(), pending=())
    path = write_listening_page(store, tmp_path, n_clips=1, method="noise").path
    [audio] = Page(path.read_text(encoding="utf-8")).all("audio")
    assert soundfile.info(io.BytesIO(decoded(audio["src"], "audio/flac"))).frames == 5000


def test_clips_that_are_not_ready_are_not_chosen(make_store, tmp_path):
    store = make_store(ids=list("abcdef"), failed=(1,), pending=(4,))
    path = write_listening_page(
        store, tmp_path, n_clips=20, specs=["sr8000-mel8-x4-db"], method="noise"
    ).path
    heard = re.findall(r"<h2>(.*?)</h2>", path.read_text(encoding="utf-8"))
    assert sorted(heard) == list("acdf")


def test_clips_are_spread_over_tags_and_the_seed_says_which():
    labels = np.zeros((100, 4), np.uint8)
    labels[:90, 0] = 1  # nearly all have the first tag
    for tag, row in ((1, 90), (2, 93), (3, 96)):
        labels[row : row + 3, tag] = 1
    rows = np.arange(100)
    chosen = spread_over_tags(rows, labels, 8, seed=3)
    assert len(set(chosen)) == 8
    assert labels[chosen].sum(axis=0).tolist() == [2, 2, 2, 2]
    assert spread_over_tags(rows, labels, 8, seed=3) == chosen
    assert spread_over_tags(rows, labels, 8, seed=4) != chosen


def test_clips_without_tags_are_chosen_by_chance():
    chosen = spread_over_tags(np.array([4, 7, 9]), np.zeros((10, 0), np.uint8), 5, seed=0)
    assert sorted(chosen) == [4, 7, 9]


def test_wrong_wishes_are_refused(make_store, tmp_path):
    store = make_store(ids=["a", "b"], failed=(0,), pending=(1,))
    with pytest.raises(RowNotReadyError, match="no clip is ready at sr8000-mel16-x1-db"):
        write_listening_page(store, tmp_path)
    with pytest.raises(SettingsError, match="clips is 0; it must be at least 1"):
        write_listening_page(store, tmp_path, n_clips=0)
    assert not list(tmp_path.glob("*.html"))


def test_conditions_stand_beside_each_other_under_their_spec(make_store, tmp_path):
    specs = (FeatureSpec(sr=8000, n_mels=8, hop=2), FbankSpec(sr=8000, n_mels=8, win_length=200))
    conditions = [Condition.parse(name) for name in ("clean", "stretch2", "drc-music")]
    store = make_store(
        ids=["a"], specs=[s.under(c) for c in conditions for s in specs], failed=(), pending=()
    )
    path = write_listening_page(store, tmp_path, method="noise").path
    text = path.read_text(encoding="utf-8")
    assert len(re.findall("<h3>", text)) == 2
    assert re.findall(r"<h4>(.*?)</h4>", text) == [
        "clean", "stretch to 2 times the speed", "drc-music",
    ] * 2  # fmt: skip
    assert "dynamic range compression, Dolby E&#39;s music standard" in text
    assert re.findall(r"<li>(\w+): ", text) == ["fbank", "mel"]
    assert "an approximation" in text
    sounds = Page(text).all("audio")
    assert [float(audio["data-speed"]) for audio in sounds] == [1, 2, 1] * 2
    lengths = [
        soundfile.info(io.BytesIO(decoded(audio["src"], "audio/mpeg"))).duration for audio in sounds
    ]
    assert lengths[1] < lengths[0]
    chosen = write_listening_page(
        store, tmp_path, specs=[specs[0]], conditions=["drc-music"], method="noise"
    ).path.read_text(encoding="utf-8")
    assert re.findall(r"<code>(.*?)</code>", chosen) == ["sr8000-mel8-x2-db~drc-music"]


def test_waveforms_are_played_as_stored_and_nothing_is_made_up(wave_store, tmp_path):
    path = write_listening_page(wave_store, tmp_path, n_clips=1).path
    text = path.read_text(encoding="utf-8")
    assert "wave: the samples as they are stored." in text
    assert "phases" not in text
    [audio] = Page(text).all("audio")
    file = io.BytesIO(decoded(audio["src"], "audio/flac"))
    samples, sr = soundfile.read(file, dtype="int16")
    [name] = re.findall(r"<h2>(.*?)</h2>", text)
    stored = wave_store[wave_store.specs[0]][wave_store.table.row_of(name)][0]
    assert sr == 44100
    np.testing.assert_array_equal(samples, stored * 32768)

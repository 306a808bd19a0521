"""Networks from users' files: what is found there, what is refused, and whose word it takes."""

import copy
import dataclasses
import pickle
import sys

import pytest
import torch

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from models.networks import parse_architecture
from models.networks.cost import clip_cost
from models.networks.own import is_name, is_reference, user_errors
from models.training.settings import TrainSettings

SPEC = FeatureSpec(sr=16000, n_mels=8)

MY_NET = """
import torch
from torch import nn


class MyNet(nn.Module):
    def __init__(self, spec, *, n_frames, n_outputs, width=1.0):
        super().__init__()
        self.dense = nn.Linear(spec.n_bands, n_outputs)

    def forward(self, values):
        return self.dense(values.mean(2))
"""

SEVERAL = (
    MY_NET
    + """

class Plain(MyNet):
    def __init__(self, spec, *, n_frames, n_outputs):
        super().__init__(spec, n_frames=n_frames, n_outputs=n_outputs)


def made(spec, *, n_frames, n_outputs, width=1.0, depth=1):
    return nn.Sequential(nn.Flatten(), nn.Linear(spec.n_bands * n_frames, n_outputs))


from models.networks.architecture import Architecture

SHORT = Architecture(name="short-of-mine", build=made, window=1, options={"depth": (1, 2)})
"""
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def my_net(here):
    (here / "my_net.py").write_text(MY_NET)
    return "my_net.py:MyNet"


def new(reference, n_frames=40, n_outputs=3):
    return parse_architecture(reference).new(SPEC, n_frames=n_frames, n_outputs=n_outputs)


def test_a_class_in_a_file_is_a_network(my_net):
    architecture = parse_architecture(my_net)
    assert (architecture.has_width, architecture.window, architecture.accepts) == (
        True,
        None,
        FeatureSpec,
    )
    network = new(my_net)
    assert network(torch.zeros(2, 8, 40)).shape == (2, 3)
    assert network.state_dict().keys() == {"dense.weight", "dense.bias"}


def test_it_is_named_by_what_is_in_the_file_and_not_by_where_it_lies(my_net, here):
    first = parse_architecture(my_net)
    assert is_name(first.name)
    assert first.name.startswith("MyNet-")
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "other.py").write_text(MY_NET)
    assert parse_architecture("elsewhere/other.py:MyNet").name == first.name
    (here / "my_net.py").write_text(MY_NET + "\n# better\n")
    assert parse_architecture(my_net).name != first.name


def test_an_architecture_a_function_and_a_class_of_one_width_are_networks_too(here):
    (here / "several.py").write_text(SEVERAL)
    assert not parse_architecture("several.py:Plain").has_width
    assert new("several.py:made")[1].in_features == 8 * 40
    short = parse_architecture("several.py:SHORT-depth2")
    assert short.window == 1
    assert short.name.startswith("short-of-mine-depth2-")
    assert new("several.py:SHORT", n_frames=1000)[1].in_features == 8 * 62
    with pytest.raises(TrainingError, match=r"SHORT has \[-depthN\], not '-depth3'"):
        parse_architecture("several.py:SHORT-depth3")
    with pytest.raises(TrainingError, match="Plain has no options, not '-depth3'"):
        parse_architecture("several.py:Plain-depth3")


def test_settings_keep_to_a_version_of_the_file_in_this_process_and_refuse_it_in_another(
    my_net, here, monkeypatch
):
    settings = TrainSettings(model=my_net)
    assert settings.model == f"{here}/my_net.py:MyNet@{settings.architecture.name[-8:]}"
    assert pickle.loads(pickle.dumps(settings)) == settings == TrainSettings(model=my_net)
    assert dataclasses.replace(settings, seed=1).model == settings.model

    (here / "my_net.py").write_text("raise AssertionError('this is another network')")
    monkeypatch.chdir("/")
    new(settings.model)
    module = settings.architecture.build.make.__module__
    monkeypatch.delitem(sys.modules, module)  # as in a process that starts afresh
    with pytest.raises(TrainingError, match=r"my_net\.py is of version \w{8} here, and \w{8} is"):
        new(settings.model)


def test_a_file_is_run_once_and_leaves_nothing_beside_it(here):
    (here / "my_net.py").write_text(
        MY_NET + "with open('ran', 'a') as file:\n    file.write('x')\n"
    )
    for _ in range(3):
        parse_architecture("my_net.py:MyNet")
    assert (here / "ran").read_text() == "x"
    assert {path.name for path in here.iterdir()} == {"my_net.py", "ran"}


def test_what_settings_say_of_it_in_a_file_runs_nothing(my_net, here):
    settings = TrainSettings(model=my_net)
    said = settings.json()
    assert said["model"] == settings.architecture.name  # no path
    (here / "evil.py").write_text("open('ran', 'w')\n" + MY_NET)
    for model in ("evil.py:MyNet", f"{here}/evil.py:MyNet@00000000"):
        assert is_reference(model)
        with pytest.raises(TrainingError, match="what is read from a file never names another"):
            TrainSettings.from_json(said | {"model": model})
        with pytest.raises(TrainingError, match="what is read from a file never names another"):
            TrainSettings.from_json(said | {"model": model}, model=my_net)
    assert not (here / "ran").exists()
    with pytest.raises(TrainingError, match=r"MyNet-\w{8} is a network from a file .*--model FILE"):
        TrainSettings.from_json(said)
    assert TrainSettings.from_json(said, model=my_net) == settings
    with pytest.raises(TrainingError, match=r"vgg is vgg, and MyNet-\w{8} is needed$"):
        TrainSettings.from_json(said, model="vgg")
    with pytest.raises(TrainingError, match=r"is MyNet-\w{8}, and vgg is needed"):
        TrainSettings.from_json({"model": "vgg"}, model=my_net)
    (here / "my_net.py").write_text(MY_NET + "# better\n")
    with pytest.raises(TrainingError, match=r"and MyNet-\w{8} is needed: the file was changed"):
        TrainSettings.from_json(said, model=my_net)


BAD = {
    "": r"my_net.py has no MyNet; there is no network in it",
    MY_NET.replace("MyNet", "Other"): "my_net.py has no MyNet; it has Other",
    "import torch\nclass MyNet(:\n": "my_net.py:2: SyntaxError: invalid syntax",
    "# coding: nothing\n": "my_net.py:1: SyntaxError: unknown encoding",
    "\n\nimport not_there\n": "my_net.py:3: ModuleNotFoundError: No module named 'not_there'",
    "def f():\n    return 1 / 0\nf()\n": "my_net.py:2: ZeroDivisionError: division by zero",
    "import sys\nsys.exit('usage: x')\n": "my_net.py:2: SystemExit: usage: x",
    "MyNet = 3\n": "my_net.py: MyNet is of type int; name the class, or a function that makes",
    "import torch\nMyNet = torch.nn.Linear(2, 2)\n": "MyNet is of type Linear; name the class",
    MY_NET.replace("spec, *", "spec, n_bands, *"): r"my_net.py:7: MyNet is not made by "
    r"MyNet\(spec, n_frames=…, n_outputs=…\), with width=… if it has one: missing a required",
    MY_NET.replace("width=1.0", "width=1.0, depth"): r"my_net.py:7: .*argument: 'depth'",
    MY_NET.replace("n_frames, ", ""): "my_net.py:7: .*unexpected keyword argument 'n_frames'",
}


@pytest.mark.parametrize("text", BAD)
def test_a_file_without_such_a_network_is_refused_with_its_line(my_net, here, text):
    (here / "my_net.py").write_text(text)
    with pytest.raises(TrainingError, match=BAD[text]) as caught:
        parse_architecture(my_net)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("not_there.py:MyNet", "there is no file not_there.py; .*--model FILE.py:CLASS"),
        ("folder.py:MyNet", "folder.py cannot be read: Is a directory"),
        ("my_net.py", "model is 'my_net.py'; .*or a class in a file of your own, my_net.py:MyNet"),
        ("my_net:MyNet", "model is 'my_net:MyNet'; .*or a class in a file"),
        ("MyNet-00000000", "MyNet-00000000 is a network from a file of its maker's"),
    ],
)
def test_what_names_no_file_or_no_class_is_refused(here, model, message):
    (here / "folder.py").mkdir()
    with pytest.raises(TrainingError, match=message):
        parse_architecture(model)


BROKEN = {
    "self.dense = nn.Linear(spec.n_bands, nothing)": "my_net.py:9: NameError: name 'nothing'",
    "pass": "my_net.py: MyNet has no weights to learn",
    "self.dense = nn.Linear(spec.n_bands, 7)": r"my_net.py:11: MyNet gives a tensor of \(2, 7\) "
    r"for 2 windows, not of \(2, 3\): n_outputs for each",
    "self.dense = nn.Linear(5, n_outputs)": "my_net.py:12: RuntimeError: .*shapes cannot be multi",
    "self.dense = nn.LSTM(spec.n_bands, n_outputs)": "my_net.py:11: .*what is of type tuple",
}


@pytest.mark.parametrize("line", BROKEN)
def test_what_goes_wrong_in_a_network_is_an_error_with_its_line(my_net, here, line):
    (here / "my_net.py").write_text(
        MY_NET.replace("self.dense = nn.Linear(spec.n_bands, n_outputs)", line)
    )
    with pytest.raises(TrainingError, match=BROKEN[line]) as caught, user_errors():
        new(my_net)(torch.zeros(2, 8, 40))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def MyNet(spec, *, n_frames, n_outputs): return 1",
            "MyNet makes what is of type int, not a torch",
        ),
        (
            "from torch import nn\nclass MyNet(nn.Module): pass",
            r"my_net.py: MyNet cannot be made: TypeError: .*unexpected keyword argument",
        ),
        (
            "from featurestore.errors import TrainingError\n"
            "def MyNet(spec, *, n_frames, n_outputs): raise TrainingError('use a smaller hop')",
            "^use a smaller hop$",
        ),
    ],
)
def test_what_makes_no_network_is_an_error(my_net, here, text, message):
    (here / "my_net.py").write_text(text)
    with pytest.raises(TrainingError, match=message):
        new(my_net)


def test_errors_that_are_not_in_a_users_file_pass(my_net):
    with pytest.raises(ZeroDivisionError), user_errors():
        1 / 0  # noqa: B018
    network = copy.deepcopy(new(my_net))
    network.dense = torch.nn.Linear(8, 4)
    with pytest.raises(TrainingError, match="MyNet gives a tensor"):  # a copy is checked as well
        network(torch.zeros(2, 8, 40))


def test_costs_are_counted_even_if_making_it_takes_values(my_net, here):
    cost = clip_cost(parse_architecture(my_net), SPEC, n_frames=40, n_outputs=3)
    assert (cost.gmac, cost.parameters) == (8 * 3 / 1e9, 8 * 3 + 3)
    with_values = MY_NET.replace(
        "super().__init__()", "super().__init__(); self.scale = torch.ones(1).item()"
    )
    (here / "my_net.py").write_text(with_values)
    assert clip_cost(parse_architecture(my_net), SPEC, n_frames=40, n_outputs=3) == cost
    (here / "my_net.py").write_text(with_values.replace("values.mean(2)", "values.mean(3)"))
    with pytest.raises(TrainingError, match=r"my_net\.py:12: IndexError: Dimension out of range"):
        clip_cost(parse_architecture(my_net), SPEC, n_frames=40, n_outputs=3)

from models.report.resolution import resolutions
from models.study.comparison import compare


def test_the_studys_grid_is_its_figure_1_a_figure_a_network(many):
    vgg, musicnn = sorted(resolutions(compare(many)), key=lambda figure: figure.title, reverse=True)
    assert (vgg.title, musicnn.title) == ("vgg", "musicnn")
    assert vgg.name != musicnn.name
    roc, pr, gmac = vgg.rows
    columns = ["12 kHz, log", "12 kHz, dB", "16 kHz, log", "16 kHz, dB"]
    assert [panel.title for panel in roc] == [panel.title for panel in pr] == columns
    assert [panel.title for panel in gmac] == ["12 kHz", "16 kHz"]  # the law costs nothing
    for panel in (*roc, *pr, *gmac):
        assert [name for _, name in panel.x.ticks] == ["x1", "x2", "x3", "x4", "x5", "x10"]
        assert len(panel.dots) == 22
        assert len(panel.lines) == 3  # 32 bands and fewer are at one hop
    assert len({panel.y for panel in roc}) == 1  # to be compared by eye


def test_dots_stand_at_their_hop_and_score(compared):
    (figure,) = resolutions(compared)
    roc, _, gmac = figure.rows[0]  # one column is laid down
    found = {(round(dot.x), dot.mark, dot.y) for dot in roc.dots}
    marks = {96: 0, 48: 1, 16: 2}
    hops = [1, 2, 10]
    assert found == {
        (hops.index(p.spec.hop), marks[p.spec.n_mels], p.roc_auc) for p in compared.points
    }
    assert {dot.y for dot in gmac.dots} == {p.gmac for p in compared.points}


def test_of_several_networks_those_on_fewer_than_three_specs_have_none(compared_zoo, zoo, few):
    assert resolutions(compared_zoo) == ()
    others = [row for row in zoo if row["model"] in ("fcn", "sample")]
    (figure,) = resolutions(compare([*others, *few]))
    assert figure.title == "vgg"
    assert [len(panel.dots) for row in figure.rows for panel in row] == [6, 6, 6]

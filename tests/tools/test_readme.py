"""The numbers of README files and docstrings are those that runs wrote to results/."""

import ast
import json
import re

import numpy as np
import pytest
from conftest import ROOT, read_json
from matplotlib.image import imread

from lib.files.errors import UserError
from lib.measure import plots
from tools import curves, readme
from tools.tables import cells


def test_every_number_is_that_of_its_json():
    assert [line for path in readme.pages() for line in readme.differences(path)] == []


def test_no_number_in_a_table_is_without_a_result():
    assert [cell for path in readme.pages() for cell in readme.unproven(path.read_text())] == []


def test_numbers_in_tables_without_a_result_are_found():
    text = (
        "99.5 % in a text is not looked at\n\n"
        "| 1.5 | here | the book | dropout | run |\n|---|---|---|---|---|\n"
        "| 2.5 | 98.1 % | 99.1 % | 0.45 | [3.5](figure-1.2.png) `--noise 0.5` |\n"
        "| 3.5 | 9 | | | 1,000.5 ms |\n"
    )
    assert readme.unproven(text) == ["98.1 %", "1,000.5 ms"]


@pytest.fixture
def prose(tmp_path, monkeypatch):
    """Writes rows of the declaration of numbers in sentences."""

    def write(*rows):
        lines = ["page,before,record,key,format", *rows]
        (tmp_path / "prose.csv").write_text("\n".join(lines) + "\n")

    monkeypatch.setattr(readme, "PROSE", tmp_path / "prose.csv")
    return write


def test_numbers_in_sentences_are_rewritten_and_the_rest_is_kept(tmp_path, prose, monkeypatch):
    content = {"accuracy": 0.99417, "levels": {"0.5": {"psnr": 17.916}}, "rows": [{"ms": 1300}]}
    (tmp_path / "run.json").write_text(json.dumps(content))
    prose(
        "a.md,an accuracy of,run,accuracy,.2%",
        "a.md,or a PSNR of,run,levels/0.5/psnr,.1f",
        'a.md,A step takes,run,rows/0/ms,",d"',
        "b.md,something else,run,accuracy,.2%",
    )
    text = (
        "It has an accuracy\nof 98.00 % (the book: 99.4 %) or a PSNR of 1 dB. A step takes 7 ms.\n"
    )
    new = (
        "It has an accuracy\nof 99.42 % (the book: 99.4 %) or a PSNR of 17.9 dB. "
        "A step takes 1,300 ms.\n"
    )
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    assert readme.updated(text, "a.md") == new
    assert readme.updated(new, "a.md") == new


def test_a_number_without_a_json_is_refused(tmp_path, prose, monkeypatch):
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    prose("a.md,it has,none,x,d")
    with pytest.raises(UserError, match=r"a\.md, 'it has': no results/none\.json"):
        readme.updated("it has 1", "a.md")
    (tmp_path / "run.json").write_text('{"y": 1}')
    prose("a.md,it has,run,x,d")
    with pytest.raises(UserError, match=r"a\.md, 'it has': no 'x' in results/run\.json"):
        readme.updated("it has 1", "a.md")
    prose("a.md,it has,run,y,d")
    for text, times in (("it had 1", 0), ("it has 1, it has 2", 2)):
        with pytest.raises(UserError, match=f"'it has' and a number once, found it {times} times"):
            readme.updated(text, "a.md")


def numbers_in(content):
    """All numbers in a json, with the names that are numbers."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from numbers_in(value)
            if re.fullmatch(r"[\d.]+", name):
                yield float(name)
    elif isinstance(content, list):
        for value in content:
            yield from numbers_in(value)
    elif isinstance(content, (int, float)):
        yield content


def unmeasured(text, numbers):
    """Decimals and percentages in a text that none of the numbers is when it is rounded so."""
    without_the_books = re.sub(r"[Tt]he\s+book.*?(?=[),;]|\.\s|\.$)", "", text, flags=re.DOTALL)
    found = []
    for shown in re.findall(r"-?\d+\.\d+|\d+(?= %)", without_the_books):
        digits = len(shown.partition(".")[2])
        # In "98.1 to 98.4 %" the sign belongs to both.
        if not any(f"{n:.{digits}f}" == shown or f"{100 * n:.{digits}f}" == shown for n in numbers):
            found.append(shown)
    return found


# The grid's numbers are asserted in test_chapter9.py.
SCRIPTS = [
    path for path in sorted(ROOT.glob("chapter*/*.py")) if path.name != "q-learning-9.3.1.py"
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_docstring_promises_has_been_measured(script):
    doc = ast.get_docstring(ast.parse(script.read_text()))
    (promised,) = re.findall(
        r"^Result to expect.*?(?=\n\n|\Z)", doc, flags=re.DOTALL | re.MULTILINE
    )
    records = [read_json(path) for path in ROOT.glob(f"results/{script.stem}*.json")]
    assert unmeasured(promised, list(numbers_in(records))) == []


def test_numbers_without_a_result_are_found_in_docstrings():
    text = (
        "Result to expect: 98.4 % (97.9 % and 98.0 to\n98.2 % with seeds; the\nbook: 99.9 %), "
        "0.31 and\n12.5 dB at 0.75. The book has 71.5 %, with seed 1 61.5 %.\nIn 2 minutes -0.98."
    )
    expected = ["97.9", "12.5", "61.5", "-0.98"]
    assert unmeasured(text, [0.984, 0.98, 98.21, 0.31, 0.75]) == expected


def test_a_table_is_written_whole_between_its_markers(monkeypatch):
    rows = [["DCGAN", "24.9 ± 2.3"], ["CGAN", "9"]]
    monkeypatch.setitem(readme.TABLES, "two", lambda: cells.table(["", "FID"], rows))
    text = "before\n<!-- table two -->\n| old 1.5 |\n<!-- end of table -->\nafter\n"
    new = readme.updated(text)
    assert new.splitlines() == [
        "before",
        "<!-- table two -->",
        "|       | FID        |",
        "|-------|------------|",
        "| DCGAN | 24.9 ± 2.3 |",
        "| CGAN  | 9          |",
        "<!-- end of table -->",
        "after",
    ]
    assert readme.updated(new) == new
    assert readme.unproven(new) == []
    with pytest.raises(UserError, match="no table 'none'"):
        readme.updated(text.replace("two", "none"))


def test_a_last_column_of_links_is_not_padded():
    rows = [["1.1", "[picture](figures/one.png)"], ["1.2", ""]]
    assert cells.table(["figure", "pictures"], rows).splitlines() == [
        "| figure | pictures |",
        "|--------|----------|",
        "| 1.1    | [picture](figures/one.png) |",
        "| 1.2    |          |",
    ]


def test_a_cell_has_mean_and_standard_deviation_over_seeds():
    found = [{"fid": {"all": [v]}} for v in (1.0, 2.0, 6.0)]
    assert cells.spread(found, "fid/all/0", ".2f") == "3.00 ± 2.65"
    assert cells.spread(found[:1], "fid/all/0", ".0f", 100) == "100"
    assert cells.spread(found, "kid") == "-"


@pytest.mark.parametrize("name", [n for n in readme.TABLES if n != "departures"])
def test_every_table_is_on_a_page_and_its_cells_are_short(name):
    assert any(f"<!-- table {name} -->" in path.read_text() for path in readme.pages())
    header, _, *rows = readme.TABLES[name]().splitlines()
    for line in (header, *rows):
        # The name of a script or file is as long as it is.
        cells = [cell.strip() for cell in line.split("|") if not re.search(r"\]\(|`|<img", cell)]
        assert max(map(len, cells)) <= 25


def test_curves_show_the_measured_steps(tmp_path):
    (tmp_path / "run-log.csv").write_text("step,loss,fid_mnist\n500,1,\n1000,0.5,30\n2000,0.4,20\n")
    assert curves.read(tmp_path / "run-log.csv", "fid_mnist") == ([1000, 2000], [30.0, 20.0])
    curves.draw({"run": "run"}, tmp_path / "curve.png", tmp_path)
    assert imread(tmp_path / "curve.png").std() > 0
    runs_of = curves.gan_runs()
    assert sum(map(len, runs_of.values())) == 7
    for runs in runs_of.values():
        for name in runs.values():
            steps, values = curves.read(ROOT / "results" / f"{name}-log.csv", "fid_mnist")
            assert len(steps) == len(values) > 10


def write_log(path, color):
    columns = {
        "to_color_psnr": (20, 21, 21.5),
        "to_color_colorfulness": (0.06, 0.09, 0.12),
        "true_colorfulness": (0.12, 0.12, 0.12),
        "to_gray_mae": (0.05, 0.04, 0.03),
        "cycle_mae_source": (0.04, 0.03, 0.025),
        "cycle_mae_target": (0.06, 0.05, 0.045),
    }
    if not color:
        columns = {"label_flip_rate": (0.4, 0.3, 0.2), "cycle_mae_source": (0.1, 0.1, 0.1)}
    rows = zip((1000, 2000, 2500), *columns.values(), strict=True)
    lines = [",".join(map(str, row)) for row in [("step", *columns), *rows]]
    path.write_text("\n".join(lines) + "\n")


def test_curves_that_show_the_same_are_left_as_they_are(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "chapter4-gan/figures/fid-curves.png"
    picture.parent.mkdir(parents=True)
    monkeypatch.setattr(curves, "ROOT", tmp_path)
    runs = {"chapter4-gan": curves.gan_runs()["chapter4-gan"]}
    monkeypatch.setattr(curves, "gan_runs", lambda: runs)
    for name in ("draw_translations", "draw_dqn", "draw_policies"):
        monkeypatch.setattr(curves, name, lambda path: [])
    curves.main(None)
    assert "Drawn: chapter4-gan/figures/fid-curves.png" in capsys.readouterr().out
    plots.Image.open(picture).save(picture, compress_level=9)
    before = picture.read_bytes()
    curves.main(None)
    assert "Unchanged: chapter4-gan/figures/fid-curves.png" in capsys.readouterr().out
    assert picture.read_bytes() == before


def test_curves_of_cyclegan_show_the_measures_of_each_run(tmp_path, monkeypatch):
    figures = []
    finish = plots.finish

    def keep(figure, path):
        figures.append((figure, figure.get_axes()))
        finish(figure, path)

    monkeypatch.setattr(plots, "finish", keep)
    picture = tmp_path / "curves.png"
    assert curves.draw_translations(picture, tmp_path) == [] and not picture.exists()
    write_log(tmp_path / "cyclegan-7.1.1-log.csv", color=True)
    write_log(tmp_path / "cyclegan-7.1.1-plain-log.csv", color=True)
    write_log(tmp_path / "cyclegan-7.1.1-mnist-m-plain-log.csv", color=False)
    assert curves.draw_translations(picture, tmp_path) == ["PatchGAN", "plain"]
    # A page shows 830 px of 96 to the inch.
    width = imread(picture).shape[1]
    [(figure, axes)] = figures
    assert figure.dpi == 160
    drawn = []
    for axis in axes:
        assert axis.get_ylabel()
        texts = [axis.title, axis.yaxis.label, *axis.get_yticklabels(), *axis.get_xticklabels()]
        for text in [*texts, *axis.texts]:
            assert text.get_fontsize() / 72 * 160 * 830 / max(width, 830) * 72 / 96 >= 8
        for line in axis.get_lines():
            if line.get_label() == "plain":
                assert list(line.get_xdata()) == [1, 2, 2.5]
                drawn.append(list(line.get_ydata()))
    assert axes[2].get_xlabel() == axes[3].get_xlabel() == "thousand training steps"
    expected = [
        [20, 21, 21.5],
        [50, 75, 100],
        [0.05, 0.04, 0.03],
        [0.06, 0.05, 0.045],
        [0.04, 0.03, 0.025],
    ]
    np.testing.assert_allclose(drawn, expected)


def test_the_names_next_to_those_of_the_book_exist():
    page = (ROOT / "DIFFERENCES.md").read_text()
    rows = re.findall(r"^\|.*\|(.*)\|$", page[page.index("## The book's names") :], re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    files = [*ROOT.glob("chapter*/*.py"), *ROOT.glob("lib/**/*.py")]
    code = "\n".join(path.read_text() for path in files)
    assert len(names) > 20
    for name in names:
        assert re.search(rf"{name.rpartition('.')[2]}\b", code), name

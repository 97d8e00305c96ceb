"""Figures, tested by their pixels."""

import shutil
from types import SimpleNamespace

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, run_script
from PIL import Image

from lib.files.errors import UserError
from lib.measure import plots
from tools import figures

matplotlib.use("Agg")


def pixels_of(path):
    """Array (height, width, 3) of 0..255."""
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def quadrants(path):
    """The colors at the centers of a picture's quadrants, in reading order, in 0..255."""
    pixels = pixels_of(path)
    height, width = pixels.shape[:2]
    return [tuple(pixels[y * height // 4, x * width // 4].tolist()) for y in (1, 3) for x in (1, 3)]


def gray(*levels):
    return [(level,) * 3 for level in levels]


def tiles(*levels):
    return np.ones((1, 8, 8, 1)) * np.reshape(levels, (-1, 1, 1, 1))


def test_image_grid_shows_gray_tiles_in_reading_order(tmp_path):
    plots.image_grid(tiles(0, 1, 0.2, 0.8), tmp_path / "grid.png")
    assert quadrants(tmp_path / "grid.png") == gray(0, 255, 51, 204)


def test_image_grid_takes_images_without_a_channel_axis(tmp_path):
    plots.image_grid(tiles(0, 1, 0.2, 0.8)[..., 0], tmp_path / "grid.png")
    assert quadrants(tmp_path / "grid.png") == gray(0, 255, 51, 204)


def test_image_grid_shows_colors(tmp_path):
    red, green, blue, yellow = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)
    images = np.ones((4, 8, 8, 3)) * np.reshape([red, green, blue, yellow], (4, 1, 1, 3))
    plots.image_grid(images, tmp_path / "grid.png")
    assert quadrants(tmp_path / "grid.png") == [
        tuple(255 * part for part in color) for color in (red, green, blue, yellow)
    ]


def test_pictures_without_colors_are_saved_as_gray(tmp_path):
    plots.image_grid(tiles(0, 1, 0.2, 0.8), tmp_path / "gray.png")
    plots.image_grid(np.ones((1, 8, 8, 3)) * (1, 0, 0), tmp_path / "red.png")
    modes = [Image.open(tmp_path / name).mode for name in ("gray.png", "red.png")]
    assert modes == ["L", "RGB"]


def test_image_grid_clips_and_leaves_unused_places_white(tmp_path):
    plots.image_grid(tiles(-5, 5, 0), tmp_path / "grid.png")
    assert quadrants(tmp_path / "grid.png") == gray(0, 255, 0, 255)


@pytest.mark.parametrize(("columns", "wider"), [(4, True), (1, False)])
def test_image_grid_has_the_columns_asked_for(tmp_path, columns, wider):
    plots.image_grid(tiles(0, 0, 0, 0), tmp_path / "grid.png", columns=columns)
    height, width = plt.imread(tmp_path / "grid.png").shape[:2]
    assert width > 3 * height if wider else height > 3 * width


def test_image_grid_writes_titles_over_and_beside_the_tiles(tmp_path):
    images = tiles(0, 0, 0, 0)

    def size(name, **texts):
        plots.image_grid(images, tmp_path / name, **texts)
        return pixels_of(tmp_path / name).shape[:2]

    height, width = size("plain.png")
    over_columns, _ = size("columns.png", titles="ab")
    over_each, _ = size("each.png", titles="abcd")
    assert height < over_columns < over_each
    assert size("beside.png", row_titles=("first", "second"))[1] > width
    marked_height, _ = size("marked.png", marked=(0, 1, "trained"))
    assert marked_height > height


def test_image_grid_marks_the_columns_asked_for(tmp_path):
    plots.image_grid(tiles(*[0] * 6), tmp_path / "grid.png", columns=6, marked=(2, 3, "trained"))
    pixels = pixels_of(tmp_path / "grid.png")
    images = np.flatnonzero((pixels[len(pixels) // 4] == 0).all(axis=1))
    blue = (pixels[..., 2] > pixels[..., 0] + 100).any(axis=0)
    first, last = np.flatnonzero(blue)[[0, -1]]
    width = (images[-1] + 1 - images[0]) / 6
    assert (first - images[0]) / width == pytest.approx(2, abs=0.15)
    assert (last - images[0]) / width == pytest.approx(4, abs=0.15)


def test_image_grid_enlarges_small_images_by_whole_factors_with_equal_gaps(tmp_path):
    image = np.indices((28, 28)).sum(axis=0) % 2  # a chessboard
    plots.image_grid(np.tile(image, (20, 1, 1)), tmp_path / "grid.png", columns=10)
    dark = (pixels_of(tmp_path / "grid.png") == 0).all(axis=2)
    changes = np.flatnonzero(np.diff(dark[dark.any(axis=1).argmax()].astype(int)))
    gaps = np.diff(changes)
    assert set(np.unique(gaps).tolist()) <= {2, 2 + plots.GAP, 2 + plots.GAP + 2}
    assert (gaps == 2).sum() > 0.9 * len(gaps)


def test_grids_side_by_side_keep_their_order(tmp_path):
    grids = {"dark": tiles(0, 0, 0, 0), "gray": tiles(*[0.2] * 4), "light": tiles(*[0.8] * 4)}
    plots.grids_side_by_side(grids, tmp_path / "grids.png", columns=2)
    row = pixels_of(tmp_path / "grids.png")[-12, :, 0]
    assert [level for level in dict.fromkeys(row.tolist()) if level in (0, 51, 204)] == [0, 51, 204]


def test_image_grid_makes_the_folder_and_closes_its_figure(tmp_path):
    plots.image_grid(tiles(0), tmp_path / "new" / "grid.png")
    assert (tmp_path / "new" / "grid.png").exists()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("show", [False, True])
def test_image_grid_opens_a_window_only_when_asked(tmp_path, monkeypatch, show):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    plots.image_grid(tiles(0), tmp_path / "grid.png", show=show)
    assert len(shown) == show


def grids(folder, steps, width=8):
    """Saves one picture for each step, each of a color of its own; returns these colors."""
    folder.mkdir()
    colors = {}
    for i, step in enumerate(steps):
        colors[step] = (0, 8 + 4 * i, 200)
        picture = np.tile(np.uint8(colors[step]), (8, width, 1))
        plt.imsave(folder / f"{step:05d}.png", picture)
    return colors


def chosen(path, colors):
    """The steps whose color is in the picture, from top to bottom."""
    pixels = pixels_of(path)
    places = {}
    for step, color in colors.items():
        rows = np.flatnonzero((pixels == color).all(axis=2).any(axis=1))
        if len(rows):
            places[step] = rows.mean()
    return sorted(places, key=places.get)


def test_evolution_spreads_over_the_logarithm_of_the_step(tmp_path):
    colors = grids(tmp_path / "run", range(500, 20_500, 500))
    plots.evolution(tmp_path / "run", tmp_path / "evolution.png", most=4)
    assert chosen(tmp_path / "evolution.png", colors) == [500, 1500, 6000, 20_000]


def test_evolution_shows_first_and_last_and_at_most_five(tmp_path):
    colors = grids(tmp_path / "run", range(500, 20_500, 500))
    plots.evolution(tmp_path / "run", tmp_path / "evolution.png")
    steps = chosen(tmp_path / "evolution.png", colors)
    assert len(steps) == 5
    assert (steps[0], steps[-1]) == (500, 20_000)


def test_evolution_shows_a_single_grid(tmp_path):
    colors = grids(tmp_path / "run", [300])
    plots.evolution(tmp_path / "run", tmp_path / "evolution.png")
    assert chosen(tmp_path / "evolution.png", colors) == [300]


def test_evolution_draws_grids_no_smaller_than_they_are(tmp_path):
    colors = grids(tmp_path / "run", [500, 1000, 2000], width=900)
    plots.evolution(tmp_path / "run", tmp_path / "evolution.png")
    pixels = pixels_of(tmp_path / "evolution.png")
    for step, color in colors.items():
        rows, columns = np.nonzero((pixels == color).all(axis=2))
        assert np.ptp(columns) == pytest.approx(899, abs=1), step
        assert np.ptp(rows) == pytest.approx(7, abs=1), step


def test_evolution_shows_gray_grids_as_gray(tmp_path):
    (tmp_path / "run").mkdir()
    plots.image_grid(tiles(0, 1, 0.2, 0.8), tmp_path / "run" / "00500.png")
    plots.evolution(tmp_path / "run", tmp_path / "evolution.png")
    assert Image.open(tmp_path / "evolution.png").mode == "L"
    assert {0, 51, 204, 255} <= set(np.unique(pixels_of(tmp_path / "evolution.png")).tolist())


def test_evolution_passes_over_other_pictures(tmp_path):
    colors = grids(tmp_path / "run", [500, 1000])
    (tmp_path / "run" / "generated.png").write_text("no grid of a step")
    plots.evolution(tmp_path / "run", tmp_path / "run" / "evolution.png")
    plots.evolution(tmp_path / "run", tmp_path / "run" / "evolution.png")
    assert chosen(tmp_path / "run" / "evolution.png", colors) == [500, 1000]


def test_counts_of_a_confusion_matrix_are_legible_on_their_shade(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(plots, "finish", lambda figure, *_: kept.append(figure))
    plots.confusion_matrix(np.array([[1, 100], [90, 0]]), tmp_path / "counts.png")
    colors = {text.get_text(): text.get_color() for text in kept[0].axes[0].texts}
    assert colors == {"1": "black", "100": "white", "90": "white"}
    plt.close(kept[0])


@pytest.fixture
def search():
    """Graphviz is looked for again, before the test and after it."""
    plots._can_draw_diagrams.cache_clear()
    yield
    plots._can_draw_diagrams.cache_clear()


def test_without_graphviz_one_line_says_so_once_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, search
):
    monkeypatch.setattr(plots.shutil, "which", lambda name: None)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for name in ("model.png", "other.png"):
        plots.model_diagram(model, tmp_path / name)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no diagrams: ") and "Graphviz" in line
    assert list(tmp_path.iterdir()) == []


def test_a_diagram_that_graphviz_cannot_draw_is_one_line(tmp_path, monkeypatch, capsys, search):
    dot = tmp_path / "bin/dot"
    dot.parent.mkdir()
    dot.write_text("#!/bin/sh\nkill -ABRT $$\n")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(dot.parent))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    path = tmp_path / "drawn/model.png"
    path.parent.mkdir()
    plots.model_diagram(model, path)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "no model.png: Graphviz cannot draw this network"
    assert list(path.parent.iterdir()) == []


@pytest.fixture
def warm_scripts(data_dir, monkeypatch):
    """Scripts that tools.figures runs fork from a process that has loaded Keras."""

    def run(words, cwd, **kwargs):
        _, script, *flags = words
        return run_script(cwd / script, *flags, folder=cwd, data=data_dir)

    monkeypatch.setenv("ADLK_DATA_DIR", str(data_dir))
    monkeypatch.setattr(figures, "subprocess", SimpleNamespace(run=run))


def test_a_figure_is_redrawn_from_its_weights(warm_scripts):
    jobs = figures.commands({1})
    command = "mlp-mnist-1.3.2.py --weights=mlp_mnist.h5"
    pictures = jobs[1, command]
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    assert figures.redraw(1, command, pictures, check=True) == []
    folder = ROOT / "chapter1-keras-quick-tour" / "figures"
    assert figures.difference(folder / "mlp-mnist.png", folder / "mlp-mnist.png") == (0, 0)
    for other in ("cnn-mnist.png", "none.png"):
        assert figures.difference(folder / "mlp-mnist.png", folder / other) == (np.inf, np.inf)


@pytest.mark.parametrize(("change", "replaced"), [(1, False), (100, True)])
def test_a_figure_is_replaced_if_more_than_rounding_differs(
    change, replaced, warm_scripts, tmp_path, monkeypatch
):
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    (tmp_path / "lib").symlink_to(ROOT / "lib")
    chapter = tmp_path / "chapter1-keras-quick-tour"
    (chapter / "figures").mkdir(parents=True)
    command, drawn = "mnist-sampler-1.3.1.py", "mnist-samples.png"
    (chapter / command).write_bytes((ROOT / chapter.name / command).read_bytes())
    figures.redraw(1, command, {drawn: "digits.png"})
    figure = chapter / "figures/digits.png"
    pixels = pixels_of(figure)
    pixels[0, 0] = abs(pixels[0, 0] - change)
    Image.fromarray(pixels.astype("uint8")).save(figure)
    before = figure.read_bytes()
    assert figures.redraw(1, command, {drawn: "digits.png"}) == []
    assert (figure.read_bytes() != before) == replaced


def test_without_graphviz_a_diagram_is_left_as_it_is(warm_scripts, monkeypatch, capsys, search):
    monkeypatch.setenv("PATH", "")
    figure = ROOT / "chapter1-keras-quick-tour/figures/mlp-mnist.png"
    before = figure.read_bytes()
    command, drawn = "mlp-mnist-1.3.2.py --weights=mlp_mnist.h5", "mlp-mnist.png"
    assert figures.redraw(1, command, {drawn: figure.name}) == []
    assert figure.read_bytes() == before
    assert "mlp-mnist.png is unchanged" in capsys.readouterr().out


def test_a_command_that_does_not_draw_a_figure_is_an_error(warm_scripts):
    with pytest.raises(UserError, match=r"has not drawn 'none\.png'"):
        figures.redraw(1, "mnist-sampler-1.3.1.py", {"none.png": "mnist-samples.png"})


def test_a_command_that_fails_is_shown_with_its_reason():
    with pytest.raises(UserError, match=r"failed: mlp-mnist-1\.3\.2\.py: error: "):
        figures.redraw(1, "mlp-mnist-1.3.2.py --epochs=0", {})


def test_every_command_of_the_figures_has_a_script_and_draws_figures():
    for (chapter, command), pictures in figures.commands().items():
        (folder,) = ROOT.glob(f"chapter{chapter}-*")
        assert (folder / command.split()[0]).exists()
        for figure in pictures.values():
            assert (folder / "figures" / figure).exists()


def test_figures_are_not_redrawn_from_a_few_digits(data_dir, monkeypatch):
    monkeypatch.setenv("ADLK_DATA_DIR", str(data_dir))
    with pytest.raises(UserError, match="expected the 10000 test digits of MNIST, found"):
        figures.check_data({1})
    figures.check_data({9, 10})


@pytest.mark.parametrize("count, size", [(2, (660, 330)), (7, (1650, 660))])
def test_pictures_stand_side_by_side_in_rows_of_five(count, size, tmp_path):
    sources = [tmp_path / f"{k}.png" for k in range(count)]
    for k, path in enumerate(sources):
        Image.new("L", (60, 50), 16 * k).save(path)
    whole = Image.open(figures.side_by_side(sources, tmp_path / "whole.png")).convert("L")
    assert whole.size == size
    for k in range(count):
        assert whole.getpixel((k % 5 * 330 + 160, k // 5 * 330 + 160)) == pytest.approx(
            16 * k, abs=4
        )

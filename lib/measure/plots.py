"""Image grids, strips and model diagrams, written as small PNG files."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageChops

from lib.data.datasets import DIGITS
from lib.files.whole import write_whole

if TYPE_CHECKING:
    import keras

DPI = 160
TEXT = 8  # points
PAGE = 900  # pixels: about the width of a page
TILE = 64  # pixels: small images are enlarged up to this size
GAP = 3  # pixels between two images of a grid
BETWEEN = 8 * GAP  # pixels between two grids
BLUE = "#1f77b4"


def _without_alpha(png: io.BytesIO) -> Image.Image:
    """The picture of a file in memory as RGB, or as gray if it has no colors: half the bytes."""
    picture = Image.open(png).convert("RGB")
    gray = picture.convert("L")
    colored = ImageChops.difference(picture, gray.convert("RGB")).getbbox()
    return picture if colored else gray


def finish(figure: Figure, path: str | Path, show: bool = False) -> None:
    """Saves `figure` to `path`, opens it in a window if `show`, and always closes it."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = io.BytesIO()
        fast = {"compress_level": 1}
        figure.savefig(drawn, bbox_inches="tight", pad_inches=0.05, pil_kwargs=fast)
        # optimize=True would take eight times as long, for 1 % less.
        write_whole(path, lambda temporary: _without_alpha(drawn).save(temporary))
        if show:
            plt.show()
    finally:
        plt.close(figure)


def _as_color(images: np.ndarray) -> np.ndarray:
    """Returns gray or color images as color images (n, height, width, 3) in [0, 1]."""
    images = np.clip(np.asarray(images, dtype="float32"), 0, 1)
    images = images[..., None] if images.ndim == 3 else images
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _mosaic(
    images: np.ndarray, columns: int, zoom: int, spaces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places images (n, height, width, 3) on white, each enlarged `zoom` times.

    `spaces` are the pixels to leave free above each row. Returns the picture (height, width, 3) and
    the corners (n, 2) of the images in it, top and left.
    """
    height, width = (size * zoom for size in images.shape[1:3])
    tops = np.cumsum(spaces) + np.arange(len(spaces)) * (height + GAP)
    picture = np.ones((tops[-1] + height, columns * (width + GAP) - GAP, 3), "float32")
    corners = []
    for i, image in enumerate(images):
        top, left = tops[i // columns], i % columns * (width + GAP)
        picture[top : top + height, left : left + width] = image.repeat(zoom, 0).repeat(zoom, 1)
        corners.append((top, left))
    return picture, np.array(corners)


def _show_pixels(picture: np.ndarray) -> tuple[Figure, Axes]:
    """Returns a figure that shows an array (height, width, 3) pixel by pixel, and its axis."""
    height, width = picture.shape[:2]
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(picture, interpolation="nearest")
    axis.set_axis_off()
    return figure, axis


def _write_over(axis: Axes, left: float, width: float, bottom: float, text: str) -> None:
    """Writes centered text over a place in a picture, in a smaller font if it is too long."""
    fitting = width / max(1, 0.62 * len(text)) * 72 / DPI
    size = min(TEXT, max(4, fitting))
    axis.text(left + width / 2, bottom - 6, text, ha="center", va="bottom", fontsize=size)


def _zoom(images: np.ndarray, columns: int) -> int:
    """Returns how many times an image is enlarged: up to TILE, if the grid fits on a PAGE."""
    width = images.shape[2]
    return max(1, min(TILE // width, (PAGE // columns - GAP) // width))


def image_grid(
    images: np.ndarray,
    path: Path,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    marked: tuple[int, int, str] | None = None,
    show: bool = False,
) -> None:
    """Draws images as a grid with equal gaps to a PNG file; `show` also opens a window.

    Args:
        images: array (n, height, width[, channels]) in [0, 1]; one channel is drawn in gray.
        path: the file.
        columns: images in a row; by default the grid is square.
        titles: a short text over each column, or over each image if there are as many.
        row_titles: a short text left of each row.
        marked: (first column, last column, text): a line under these columns, with the text.
        show: also open a window.
    """
    images = _as_color(images)
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows, zoom = -(-len(images) // columns), _zoom(images, columns)
    height, width = (size * zoom for size in images.shape[1:3])
    titles = list(titles or [])
    line = int(TEXT * 1.7 * DPI / 72)
    spaces = np.full(rows, line if len(titles) > columns else 0)
    picture, corners = _mosaic(images, columns, zoom, spaces)
    figure, axis = _show_pixels(picture)
    for (top, left), title in zip(corners, titles, strict=False):
        _write_over(axis, left, width, top, title)
    for row, title in enumerate(row_titles or []):
        middle = corners[row * columns][0] + height / 2
        axis.text(-8, middle, title, ha="right", va="center", fontsize=TEXT)
    if marked:
        first, last, text = marked
        (left, right), bottom = corners[[first, last], 1], len(picture) + 9
        right += width
        axis.plot((left, right), (bottom, bottom), color=BLUE, linewidth=3, clip_on=False)
        axis.text((left + right) / 2, bottom + 8, text, ha="center", va="top", fontsize=TEXT)
        axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(len(picture) - 0.5, -0.5))
    finish(figure, path, show)


def grids_side_by_side(
    grids: dict[str, np.ndarray], path: Path, columns: int = 10, show: bool = False
) -> None:
    """Draws several grids {title: images} of equally many images side by side; see `image_grid`."""
    pictures = [
        _mosaic(_as_color(images), columns, 1, np.zeros(-(-len(images) // columns), int))[0]
        for images in grids.values()
    ]
    width, space = pictures[0].shape[1], ((0, 0), (0, BETWEEN), (0, 0))
    spaced = [np.pad(picture, space, constant_values=1) for picture in pictures]
    figure, axis = _show_pixels(np.concatenate(spaced, axis=1)[:, :-BETWEEN])
    for i, title in enumerate(grids):
        _write_over(axis, i * (width + BETWEEN), width, 0, title)
    finish(figure, path, show)


def evolution(
    folder: Path, path: Path, last: int | None = None, most: int = 5, show: bool = False
) -> None:
    """Draws how samples change during a training, from the grids saved in a folder as STEP.png.

    Args:
        folder: the folder.
        path: the PNG file.
        last: the last step to show, where the folder may hold grids of an older, longer run.
        most: the largest number of grids, one below the other, spread evenly over the logarithm of
            the step.
        show: also open a window.
    """
    grids = {int(p.stem): p for p in Path(folder).glob("*.png") if p.stem.isdigit()}
    grids = {step: grids[step] for step in grids if last is None or step <= last}
    wanted = np.geomspace(min(grids), max(grids), most)
    steps = sorted({min(grids, key=lambda step: abs(step - target)) for target in wanted})
    pictures = [np.asarray(Image.open(grids[step]).convert("RGB")) / 255 for step in steps]
    width = max(picture.shape[1] for picture in pictures)
    right = [((0, 0), (0, width - picture.shape[1]), (0, 0)) for picture in pictures]
    joined = [np.pad(p, r, constant_values=1) for p, r in zip(pictures, right, strict=True)]
    figure, axis = _show_pixels(np.concatenate(joined))
    bottom = 0
    for picture, step in zip(pictures, steps, strict=True):
        middle, bottom = bottom + len(picture) / 2, bottom + len(picture)
        axis.text(-8, middle, f"{step:,} steps", ha="right", va="center", fontsize=TEXT)
    finish(figure, path, show)


def confusion_matrix(
    counts: np.ndarray, path: Path, names: Sequence[str] | None = None, show: bool = False
) -> None:
    """Draws how often each true class (row) was predicted as each class (column).

    `counts` is an array (classes, classes); `names` are those of the classes, by default digits.
    """
    names = names or DIGITS[: len(counts)]
    figure, axis = plt.subplots(figsize=(4.6, 4.6), dpi=DPI)
    # The square root makes the few errors visible next to the many correct predictions.
    shades = np.sqrt(counts)
    axis.imshow(shades, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shades[row, column] > shades.max() / 2 else "black"
            axis.text(column, row, count, ha="center", va="center", fontsize=TEXT, color=color)
    rotation = 90 if max(map(len, names)) > 2 else 0
    axis.set_xticks(range(len(names)), names, rotation=rotation, fontsize=TEXT)
    axis.set_yticks(range(len(names)), names, fontsize=TEXT)
    axis.set(xlabel="predicted class", ylabel="true class")
    finish(figure, path, show)


@functools.cache
def _can_draw_diagrams() -> bool:
    """Whether pydot and Graphviz are there; if not, the first call says so."""
    can = importlib.util.find_spec("pydot") is not None and shutil.which("dot") is not None
    if not can:
        print("no diagrams: drawing them needs pydot and Graphviz (apt install graphviz)")
    return can


def model_diagram(model: keras.Model, path: Path) -> None:
    """Draws the layers of `model` and the shapes between them, if pydot and Graphviz are there."""
    if not _can_draw_diagrams():
        return

    import keras  # only here: a script that draws digits does not wait for it

    def draw(temporary):
        with contextlib.redirect_stdout(io.StringIO()):  # pydot prints how `dot` failed
            keras.utils.plot_model(model, temporary, show_shapes=True, dpi=60)

    try:
        write_whole(path, draw)
    except AssertionError:  # pydot's word for a `dot` that failed; some networks make it crash
        print(f"no {Path(path).name}: Graphviz cannot draw this network")


def is_plane(latent_dim: int) -> bool:
    """Whether codes of `latent_dim` numbers can be drawn in a plane; if not, prints a line."""
    if latent_dim != 2:
        print(f"no figures of the latent plane: the codes have {latent_dim} numbers, not 2")
    return latent_dim == 2


def latent_scatter(
    codes: np.ndarray,
    labels: np.ndarray,
    path: Path,
    classes: Sequence[str] = DIGITS,
    limit: float | None = None,
    kl: np.ndarray | None = None,
    show: bool = False,
) -> None:
    """Draws codes (n, 2) in their plane: the first number to the right, the second upwards.

    Args:
        codes: the codes.
        labels: the class of each code, array (n,) of integers from 0, shown as its color.
        path: the PNG file.
        classes: the names of the classes; without colors if there are more than ten.
        limit: both axes go from -limit to limit; by default as far as the codes reach.
        kl: mean KL divergence of each dimension in nats, drawn next to the plane.
        show: also open a window.
    """
    codes = np.asarray(codes, dtype="float32")
    limit = limit or 1.05 * float(np.abs(codes).max()) or 1.0
    with plt.rc_context({"font.size": TEXT, "axes.titlesize": TEXT}):
        figure, axes = plt.subplots(
            1,
            1 if kl is None else 2,
            figsize=(3.6 if kl is None else 4.4, 3),
            dpi=DPI,
            squeeze=False,
            width_ratios=[1] if kl is None else [4, 1],
            layout="constrained",
        )
        axis = axes[0, 0]
        colored = 2 <= len(classes) <= 10
        labels = labels if colored else np.zeros_like(labels)
        points = axis.scatter(*codes.T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=2, alpha=0.6)
        if colored:
            colorbar = figure.colorbar(points, ax=axis, ticks=range(len(classes)))
            colorbar.ax.set_ylim(-0.5, len(classes) - 0.5)
            colorbar.ax.set_yticklabels(classes)
            assert colorbar.solids is not None  # None only for contours
            colorbar.solids.set_alpha(1)
        axis.set(xlabel="z[0]", ylabel="z[1]", xlim=(-limit, limit), ylim=(-limit, limit))
        axis.set_aspect("equal")
        if kl is not None:
            bars = axes[0, 1].bar([f"z[{i}]" for i in range(len(kl))], kl, color=BLUE)
            axes[0, 1].bar_label(bars, fmt="%.2f", fontsize=TEXT)
            axes[0, 1].set(title="KL (nats)", ylim=(0, 4))
            axes[0, 1].spines[["top", "right"]].set_visible(False)
        finish(figure, path, show)


def digits_over_latent(
    decode: Callable[[np.ndarray], np.ndarray],
    path: Path,
    cells: int = 30,
    limit: float = 4,
    show: bool = False,
) -> None:
    """Draws the images decoded from a grid of codes over a two-dimensional latent space.

    Args:
        decode: called once, with codes (cells**2, 2), float32; returns their images in [0, 1],
            array (cells**2, height, width[, channels]).
        path: the PNG file.
        cells: codes along each axis, spread evenly over [-limit, limit]; axes as in
            `latent_scatter`.
        limit: see `cells`.
        show: also open a window.
    """
    axis_values = np.linspace(-limit, limit, cells, dtype="float32")
    first, second = np.meshgrid(axis_values, axis_values[::-1])
    images = np.asarray(decode(np.stack([first.ravel(), second.ravel()], axis=1)))
    height, width = images.shape[1:3]
    tiles = images.reshape(cells, cells, height, width, -1).swapaxes(1, 2)
    # A tile is centered on its code: the picture reaches half a tile beyond the outermost codes.
    edge = limit + limit / (cells - 1)
    # So large that tiles of 28 pixels are not shrunk.
    figure, axis = plt.subplots(figsize=(7, 7), dpi=DPI)
    picture = tiles.reshape(cells * height, cells * width, -1).squeeze()
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(-edge, edge, -edge, edge))
    axis.set(xlabel="z[0]", ylabel="z[1]")
    finish(figure, path, show)

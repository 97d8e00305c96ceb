"""Image grids, strips and model diagrams, written as small PNG files."""

import importlib.util
import io
import shutil
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageChops

from lib.files import write_whole

STRIP_WIDTH = 2000  # pixels of grids beside each other


def _without_alpha(png):
    """The picture of a file in memory as RGB, or as gray if it has no colors: half the bytes."""
    picture = Image.open(png).convert("RGB")
    gray = picture.convert("L")
    colored = ImageChops.difference(picture, gray.convert("RGB")).getbbox()
    return picture if colored else gray


def finish(figure, path, show=False):
    """Saves `figure` to `path`, opens it in a window if `show`, and always closes it."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = io.BytesIO()
        figure.savefig(drawn, bbox_inches="tight")
        write_whole(path, lambda temporary: _without_alpha(drawn).save(temporary, optimize=True))
        if show:
            plt.show()
    finally:
        plt.close(figure)


def image_grid(images, path, columns=None, titles=None, row_titles=None, show=False):
    """Draws images as a grid without axes.

    Args:
        images: array (n, height, width, channels) or (n, height, width), values in [0, 1];
            one channel is drawn in gray.
        path: the PNG file.
        columns: images in a row; by default the grid is square.
        titles: a short text over each image.
        row_titles: a short text left of each row.
        show: also open a window.
    """
    images = np.clip(np.asarray(images, dtype="float32"), 0, 1)
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows = int(np.ceil(len(images) / columns))
    height, width = images.shape[1:3]
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(0.55 * columns, 0.55 * rows * height / width + (0.2 * rows if titles else 0)),
        squeeze=False,
        gridspec_kw={"wspace": 0.05, "hspace": 0.35 if titles else 0.05},
    )
    for i, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        axis.set_frame_on(False)
        if i < len(images):
            axis.imshow(images[i].squeeze(), cmap="gray", vmin=0, vmax=1)
            if titles:
                axis.set_title(titles[i], fontsize=7, pad=2)
        if row_titles and i % columns == 0:
            axis.set_ylabel(
                row_titles[i // columns], rotation=0, ha="right", va="center", fontsize=7
            )
    finish(figure, path, show)


def evolution(folder, path, last=None, most=8, show=False):
    """Draws how samples change while a network learns, from the grids saved as NNNNN.png.

    Args:
        folder: where the grids lie; the file name is the step.
        path: the PNG file.
        last: the last step to show, where the folder may hold grids of an older, longer run.
        most: at most so many grids, spread evenly over the logarithm of the step.
        show: also open a window.
    """
    grids = {int(p.stem): p for p in Path(folder).glob("*.png") if p.stem.isdigit()}
    grids = {step: grids[step] for step in grids if last is None or step <= last}
    wanted = np.geomspace(min(grids), max(grids), most)
    steps = sorted({min(grids, key=lambda step: abs(step - target)) for target in wanted})
    pictures = [plt.imread(grids[step]) for step in steps]
    # Wide grids go into several rows, so that one can still see what is in them.
    height, width = pictures[-1].shape[:2]
    columns = min(len(steps), max(1, STRIP_WIDTH // width))
    rows = -(-len(steps) // columns)
    wide, title, between = max(2, width / 100), 0.3, 0.06  # inches
    high = wide * height / width
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=((wide + between) * columns - between, (high + title) * rows),
        squeeze=False,
        gridspec_kw={
            "left": 0,
            "right": 1,
            "bottom": 0,
            "top": 1 - title / ((high + title) * rows),
            "wspace": between / wide,
            "hspace": title / high,
        },
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, step, picture in zip(axes.flat, steps, pictures, strict=False):
        # The color map is for pictures that were saved without colors.
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"{step:,} steps", fontsize=8)
    finish(figure, path, show)


def confusion_matrix(counts, path, names=None, show=False):
    """Draws how often each true class (row) was taken for each class (column).

    Args:
        counts: array (classes, classes).
        path: the PNG file.
        names: of the classes; by default their numbers.
        show: also open a window.
    """
    counts = np.asarray(counts)
    names = names or [str(i) for i in range(len(counts))]
    figure, axis = plt.subplots(figsize=(4.2, 4.2))
    # The square root shows the few errors beside the many hits.
    axis.imshow(np.sqrt(counts), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if row == column else "black"
            axis.text(column, row, count, ha="center", va="center", fontsize=6, color=color)
    turn = 90 if max(map(len, names)) > 2 else 0
    axis.set_xticks(range(len(names)), names, rotation=turn, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set(xlabel="judged", ylabel="true")
    finish(figure, path, show)


def model_diagram(model, path):
    """Draws the layers of `model` and the shapes between them; needs pydot and Graphviz' `dot`.

    Without them it prints one line and draws nothing.
    """
    if importlib.util.find_spec("pydot") is None or shutil.which("dot") is None:
        print(f"no {Path(path).name}: drawing it needs pydot and Graphviz (apt install graphviz)")
        return
    write_whole(
        path,
        lambda temporary: keras.utils.plot_model(model, temporary, show_shapes=True, dpi=60),
    )


def latent_scatter(codes, labels, path, classes=tuple("0123456789"), show=False):
    """Draws where the codes of images lie in a two-dimensional latent space.

    Args:
        codes: array (n, 2): the first number is drawn to the right, the second upwards.
        labels: the class of each code, array (n,) of integers from 0, told by its color.
        path: the PNG file.
        classes: the names of the classes; without colors if there are more than ten.
        show: also open a window.
    """
    codes = np.asarray(codes, dtype="float32")
    figure, axis = plt.subplots(figsize=(6, 5))
    if not 2 <= len(classes) <= 10:
        labels = np.zeros_like(labels)
    points = axis.scatter(*codes.T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=2, alpha=0.6)
    if 2 <= len(classes) <= 10:
        colorbar = figure.colorbar(points, ax=axis, ticks=range(len(classes)))
        colorbar.ax.set_yticklabels(classes)
        colorbar.solids.set_alpha(1)
    axis.set(xlabel="z[0]", ylabel="z[1]")
    finish(figure, path, show)


def digits_over_latent(decode, path, cells=30, limit=4, show=False):
    """Draws what a decoder makes of a grid of codes over a two-dimensional latent space.

    Args:
        decode: called once, with codes (cells**2, 2), float32; returns their images in [0, 1],
            array (cells**2, height, width, channels) or (cells**2, height, width).
        path: the PNG file.
        cells: codes along each axis, spread evenly over [-limit, limit]: the first number of the
            code grows to the right, the second upwards.
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
    figure, axis = plt.subplots(figsize=(11, 11))
    axis.imshow(
        tiles.reshape(cells * height, cells * width, -1).squeeze(),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(-edge, edge, -edge, edge),
    )
    axis.set(xlabel="z[0]", ylabel="z[1]")
    finish(figure, path, show)

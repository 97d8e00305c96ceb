"""Draws pictures of CIFAR-10: samples, and the colors of several methods side by side.

    python3 -m tools.comparison

Figure 2.2.4 of the book has samples of each class. Figures 7.1.9 and 7.1.10 have the colors of the
autoencoder of listing 3.4.1 and of both kinds of CycleGAN, here with their pretrained weights.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.cyclegan.tasks import Task
from lib.data import datasets
from lib.files import weights
from lib.measure import plots
from lib.run import flags, program
from tools import figures
from tools.scripts import ROOT, load_script

if TYPE_CHECKING:
    import keras

AUTOENCODER = "chapter3-autoencoders/colorization-autoencoder-cifar10-3.4.1.py"
CYCLEGAN = "chapter7-cross-domain-gan/cyclegan-7.1.1.py"
SHOWN = 12  # test images


def methods() -> dict[str, keras.Model]:
    """{name: network from gray to color} with the pretrained weights."""
    chapter_3, chapter_7 = load_script(AUTOENCODER), load_script(CYCLEGAN)
    autoencoder = chapter_3.build_autoencoder(chapter_3.build_encoder(), chapter_3.build_decoder())
    weights.load(autoencoder, weights.find("colorized_ae.h5", ROOT / AUTOENCODER))
    found = {"autoencoder": autoencoder}
    for kind, patchgan in (("plain", False), ("PatchGAN", True)):
        task = Task("cifar10", patchgan)
        _, generator = chapter_7.build_generators(task)
        file = weights.find(f"{task.model_name}-g_target.h5", ROOT / CYCLEGAN)
        weights.load(generator, file)
        found[f"CycleGAN, {kind}"] = generator
    return found


def draw(path: Path) -> None:
    """Draws the first test images: true colors, gray, and the colors of each method."""
    _, (color, _) = datasets.cifar10()
    gray = datasets.rgb_to_gray(color[:SHOWN])
    rows = {"true colors": color[:SHOWN], "gray": gray.repeat(3, axis=-1)}
    rows |= {name: network.predict(gray, verbose=0) for name, network in methods().items()}
    plots.image_grid(np.concatenate([*rows.values()]), path, columns=SHOWN, row_titles=[*rows])


def draw_samples(path: Path) -> None:
    """Draws the first six training images of each class, one class in a column."""
    (images, labels), _ = datasets.cifar10()
    columns = [images[labels == k][:6] for k in range(10)]
    plots.image_grid(np.concatenate(np.stack(columns, 1)), path, 10, datasets.CIFAR10_NAMES)


def main(args: object) -> None:
    """Replaces the figures that have changed."""
    program.choose_display(show=False)
    drawers = {
        "chapter2-deep-networks/figures/cifar10-samples.png": draw_samples,
        "chapter7-cross-domain-gan/figures/cyclegan-comparison.png": draw,
    }
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        for name, draw_figure in drawers.items():
            draw_figure(picture)
            changed = figures.replace(picture, ROOT / name)
            print(f"{'Drawn' if changed else 'Unchanged'}: {name}")


if __name__ == "__main__":
    program.run(main, flags.Parser(__doc__, keras=True).parse_args(sys.argv[1:]))

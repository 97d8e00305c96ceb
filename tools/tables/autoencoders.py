"""Tables of the autoencoders of chapter 3."""

from tools.tables.cells import records, spread, table

DENOISING = "denoising-autoencoder-mnist-3.3.1"
COLORIZATION = "colorization-autoencoder-cifar10-3.4.1"
# Name of the records, where they have the measures, the book's MSE, and the number of seeds.
AUTOENCODERS = {
    "16 numbers": ("autoencoder-mnist-3.2.1", "", "0.01", 3),
    "2 numbers": ("autoencoder-2dim-mnist-3.2.2", "", "pictures", 3),
    "denoising, noise 0.5": (DENOISING, "noise_levels/0.5/", "pictures", 3),
    "colorization": (COLORIZATION, "", "pictures", 3),
    "colorization, --chroma": (f"{COLORIZATION}-chroma", "", "-", 3),
}


def autoencoders() -> str:
    """The autoencoders of the whole chapter, over their seeds; minutes of the shipped weights."""
    header = ["", "test MSE", "the book", "PSNR, dB", "seeds", "epochs", "minutes"]
    rows = []
    for label, (name, where, book, seeds) in AUTOENCODERS.items():
        found, trained = records(name, seeds=seeds), records(name, "train")[0]
        rows.append(
            [
                label,
                spread(found, f"{where}mse", ".5f"),
                book,
                spread(found, f"{where}psnr", ".2f"),
                str(seeds),
                str(trained["epochs"]),
                f"{trained['minutes']:.1f}",
            ]
        )
    return table(header, rows)


def denoising() -> str:
    header = ["noise", "corrupted, PSNR in dB", "denoised, PSNR in dB", "denoised, MSE"]
    (found,) = records(DENOISING)
    rows = []
    for level, measures in found["noise_levels"].items():
        pair = (measures["corrupted"]["psnr"], measures["psnr"])
        rows.append([level, *(f"{psnr:.1f}" for psnr in pair), f"{measures['mse']:.4f}"])
    return table(header, rows)


def colorization() -> str:
    """Errors and colorfulness over the seeds; the gray image has none."""
    forms = {"mse": ".5f", "mae": ".4f", "psnr": ".2f", "colorfulness": ".3f"}
    printed, chroma = (records(name, seeds=3) for name in (COLORIZATION, f"{COLORIZATION}-chroma"))
    parts = {
        "gray image": (printed[:1], "gray_copy/"),
        "colorized": (printed, ""),
        "its colors on the gray": (printed, "colors_on_gray/"),
        "--chroma": (chroma, ""),
    }
    rows = [
        [label, *(spread(found, f"{where}{key}", form) for key, form in forms.items())]
        for label, (found, where) in parts.items()
    ]
    return table(["", "MSE", "MAE", "PSNR, dB", "colorfulness"], rows)


TABLES = {"autoencoders": autoencoders, "denoising": denoising, "colorization": colorization}

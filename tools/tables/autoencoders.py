"""Tables of the autoencoders of chapter 3."""

from tools import registry
from tools.tables.cells import cell, record, records, spread, table

DENOISING = "denoising-autoencoder-mnist-3.3.1"
COLORIZATION = "colorization-autoencoder-cifar10-3.4.1"


def autoencoders() -> str:
    """The autoencoders of the whole chapter, over their seeds; minutes of the shipped weights."""
    header = ["", "test MSE", "the book", "PSNR, dB", "seeds", "epochs", "minutes"]
    rows = []
    for label, row in registry.runs([3]).items():
        name = row.record_name.rstrip("-")
        found, trained = records(name, seeds=3), record(f"{name}-train")
        where = row.key.rpartition("/")[0] + "/" if "/" in row.key else ""
        rows.append(
            [
                label,
                spread(found, f"{where}mse", ".5f"),
                row.book,
                spread(found, f"{where}psnr", ".2f"),
                str(len(found)),
                cell(trained, "epochs", "d"),
                cell(trained, "minutes", ".1f"),
            ]
        )
    return table(header, rows)


def denoising() -> str:
    header = ["noise", "corrupted, PSNR in dB", "denoised, PSNR in dB", "denoised, MSE"]
    found = record(f"{DENOISING}-evaluate")
    rows = []
    for level, measures in found.get("noise_levels", {}).items():
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

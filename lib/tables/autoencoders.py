"""Tables of the autoencoders of chapter 3."""

from lib.tables.cells import records, spread, table

DENOISING = "denoising-autoencoder-mnist-3.3.1"
COLORIZATION = "colorization-autoencoder-cifar10-3.4.1"
# Name of the records, where they have the measures, the book's MSE, and the number of seeds.
AUTOENCODERS = {
    "16 numbers": ("autoencoder-mnist-3.2.1", "", "0.01", 3),
    "2 numbers": ("autoencoder-2dim-mnist-3.2.2", "", "pictures", 3),
    "denoising, noise 0.5": (DENOISING, "noise_levels/0.5/", "pictures", 3),
    "colorization": (COLORIZATION, "", "pictures", 1),
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
    header = ["", "MSE", "MAE", "PSNR, dB", "colorfulness"]
    (found,), (chroma,) = records(COLORIZATION), records(f"{COLORIZATION}-chroma")
    parts = {
        "gray image": found["gray_copy"],
        "colorized": found,
        "its colors on the gray": found["colors_on_gray"],
        "--chroma": chroma,
    }
    rows = []
    for label, part in parts.items():
        forms = {"mse": ".5f", "mae": ".4f", "psnr": ".1f", "colorfulness": ".3f"}
        rows.append([label, *(f"{part[key]:{form}}" for key, form in forms.items())])
    return table(header, rows)


TABLES = {"autoencoders": autoencoders, "denoising": denoising, "colorization": colorization}

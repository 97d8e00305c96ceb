"""Tables of the CycleGANs of chapter 7."""

from tools.tables.cells import NOT_MEASURED, cell, record, table

CYCLEGAN = "cyclegan-7.1.1"


def colors() -> str:
    header = ["method", "luminance", "chroma", "PSNR, dB", "colorfulness", "its distance", "steps"]
    forms = {"luminance_mse": ".4f", "chroma_mse": ".4f", "psnr": ".1f"}
    forms |= {"colorfulness": ".3f", "colorfulness_distance": ".3f"}

    def row(label: str, name: str, part: str = "", steps: str = "-") -> list[str]:
        found = record(f"{name}-evaluate")
        return [label, *(cell(found, f"{part}{key}", form) for key, form in forms.items()), steps]

    rows = []
    for kind, end in (("PatchGAN", ""), ("plain", "-plain")):
        steps = cell(record(f"{CYCLEGAN}{end}-train"), "train_steps", ",")
        rows.append(row(f"CycleGAN, {kind}", f"{CYCLEGAN}{end}-weights", "cyclegan/", steps))
    rows.append(row("autoencoder, chapter 3", "colorization-autoencoder-cifar10-3.4.1"))
    rows.append(row("gray image", f"{CYCLEGAN}-weights", "gray_copy/"))
    return table(header, rows)


def errors() -> str:
    header = ["mean absolute error", "PatchGAN", "plain"]
    labels = {
        "to_gray_mae": "color to gray",
        "cycle_mae_source": "gray to color and back",
        "cycle_mae_target": "color to gray and back",
    }
    pair = [record(f"{CYCLEGAN}{kind}-evaluate") for kind in ("", "-plain")]
    rows = [[label, *(cell(found, key, ".4f") for found in pair)] for key, label in labels.items()]
    return table(header, rows)


def orientation() -> str:
    rows = []
    for label, name in (("default", ""), ("--no-orientation", "-no-orientation")):
        rows.append([label])
        for seed in range(5):
            found = cell(record(f"{CYCLEGAN}{name}-seed{seed}-evaluate"), "to_gray_mae", ".3f")
            rows[-1].append(found.replace(NOT_MEASURED, "same run"))
    return table(["seed", *map(str, range(5))], rows)


def mnist_m() -> str:
    found = record(f"{CYCLEGAN}-mnist-m-plain-evaluate")
    rows = [
        [key, cell(found, key, ".3f" if "mae" in key else ".1%")]
        for key in (
            "label_flip_rate",
            "kept_after_cycle",
            "classifier_accuracy",
            "cycle_mae_source",
            "cycle_mae_target",
        )
    ]
    return table(["measure", "value"], rows)


TABLES = {
    "cyclegan-colors": colors,
    "cyclegan-errors": errors,
    "cyclegan-orientation": orientation,
    "mnist-m": mnist_m,
}

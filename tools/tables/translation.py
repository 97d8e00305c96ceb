"""Tables of the CycleGANs of chapter 7."""

from tools.tables.cells import recorded, records, table

CYCLEGAN = "cyclegan-7.1.1"


def colors() -> str:
    header = ["method", "PSNR, dB", "mean abs. error", "colorfulness", "its distance", "steps"]
    forms = {"psnr": ".1f", "mae": ".4f", "colorfulness": ".3f", "colorfulness_distance": ".3f"}

    def row(label: str, part: dict, steps: str) -> list[str]:
        return [label, *(f"{part[key]:{form}}" for key, form in forms.items()), steps]

    rows = []
    for length in ("-12000-steps", ""):
        for kind, end in (("PatchGAN", ""), ("plain", "-plain")):
            name = f"{CYCLEGAN}{end}{length}"
            (found,), (trained,) = records(name), records(name, "train")
            rows.append(row(f"CycleGAN, {kind}", found["cyclegan"], f"{trained['train_steps']:,}"))
    (found,) = records(f"{CYCLEGAN}-plain")
    rows.append(row("autoencoder, chapter 3", found["autoencoder"], "-"))
    rows.append(row("gray image", found["gray_copy"], "-"))
    return table(header, rows)


def errors() -> str:
    header = ["mean absolute error", "PatchGAN", "plain"]
    labels = {
        "to_gray_mae": "color to gray",
        "cycle_mae_source": "gray to color and back",
        "cycle_mae_target": "color to gray and back",
    }
    pair = [records(name)[0] for name in (CYCLEGAN, f"{CYCLEGAN}-plain")]
    rows = [[label, *(f"{found[key]:.4f}" for found in pair)] for key, label in labels.items()]
    return table(header, rows)


def orientation() -> str:
    rows = []
    for label, name in (("default", ""), ("--no-orientation", "-no-orientation")):
        rows.append([label])
        for seed in range(5):
            found = recorded([f"{CYCLEGAN}{name}-seed{seed}-evaluate"])
            rows[-1].append(f"{found[0]['to_gray_mae']:.3f}" if found else "same run")
    return table(["seed", *map(str, range(5))], rows)


def mnist_m() -> str:
    (found,) = records(f"{CYCLEGAN}-mnist-m-plain")
    rows = [
        [key, f"{found[key]:.3f}" if "mae" in key else f"{100 * found[key]:.1f} %"]
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

"""Tables of the GANs of chapters 4 to 6."""

from tools import registry
from tools.tables import cells
from tools.tables.cells import cell, read_rows, record, records, spread, table

GANS = (4, 5, 6)  # chapters


def _real():
    """The first row of the tables of samples: subsets of the training images."""
    return {"real digits": [*record("real-digits").get("subsets", {}).values()]}


def gans_10000() -> str:
    header = ["10,000 steps", "FID-MNIST", "not averaged", "KID x 1000", "recall", "requested, %"]
    runs, rows = registry.runs(GANS), []
    trained = {k: records(f"{row.script}-10000-steps", seeds=3) for k, row in runs.items()}
    for label, found in (_real() | trained).items():
        rows.append(
            [
                label,
                spread(found, "fid_mnist"),
                spread(found, "unaveraged/fid_mnist"),
                spread(found, "kid", ".0f", 1000),
                spread(found, "sample_recall", ".2f"),
                spread(found, "conditional_accuracy", ".1f", 100),
            ]
        )
    return table(header, rows)


def gans_40000() -> str:
    header = ["long run", "steps", "FID-MNIST", "not averaged", "unsure, %", "requested, %"]
    runs, rows = registry.runs(GANS), []
    trained = {label: records(row.script) for label, row in runs.items()}
    for label, found in (_real() | trained).items():
        steps = records(runs[label].script, "train") if label in runs else []
        rows.append(
            [
                label,
                spread(steps, "train_steps", ",") if steps else "-",
                spread(found, "fid_mnist"),
                spread(found, "unaveraged/fid_mnist"),
                spread(found, "low_confidence", ".1f", 100),
                spread(found, "conditional_accuracy", ".1f", 100),
            ]
        )
    return table(header, rows)


BATCH_NORM = {
    "DCGAN, none": "dcgan-mnist-4.2.1-10000-steps",
    "DCGAN, joint": "dcgan-mnist-4.2.1-bn-joint-10000-steps",
    "DCGAN, separate": "dcgan-mnist-4.2.1-bn-separate-10000-steps",
    "clipped WGAN, none": "wgan-mnist-5.1.2-clip-10000-steps",
    "clipped WGAN, joint": "wgan-mnist-5.1.2-clip-bn-joint-10000-steps",
    "clipped WGAN, separate": "wgan-mnist-5.1.2-clip-bn-separate-10000-steps",
}


def batch_norm() -> str:
    header = ["batch normalization", "FID-MNIST", "recall", "accuracy of D"]
    rows = []
    for label, name in BATCH_NORM.items():
        found = records(name)
        rows.append(
            [
                label,
                spread(found, "fid_mnist", ".0f"),
                spread(found, "sample_recall", ".2f"),
                spread(records(name, "train"), "losses/accuracy", ".2f"),
            ]
        )
    return table(header, rows)


def r1() -> str:
    header = ["2,500 steps", "FID-MNIST", "KID x 1000", "accuracy of D"]
    rows = []
    for label, end in {"DCGAN": "", "DCGAN, --r1 1": "-r1-3000-steps"}.items():
        path = cells.RESULTS / f"dcgan-mnist-4.2.1{end}-log.csv"
        for found in read_rows(path, step=2500) if path.exists() else []:
            fid, kid, accuracy = (float(found[key]) for key in ("fid_mnist", "kid", "accuracy"))
            rows.append([label, f"{fid:.0f}", f"{1000 * kid:.0f}", f"{accuracy:.2f}"])
    return table(header, rows)


WGANS = {
    "gradient penalty": "wgan-mnist-5.1.2-10000-steps",
    "clipped": "wgan-mnist-5.1.2-clip-10000-steps",
    "clipped, two updates": "wgan-mnist-5.1.2-book-10000-steps",
}


def wgan_forms() -> str:
    header = ["form of the WGAN", "FID-MNIST", "precision", "recall", "unsure, %"]
    rows = []
    for label, found in (_real() | {k: records(name) for k, name in WGANS.items()}).items():
        rows.append(
            [
                label,
                spread(found, "fid_mnist"),
                spread(found, "sample_precision", ".2f"),
                spread(found, "sample_recall", ".2f"),
                spread(found, "low_confidence", ".1f", 100),
            ]
        )
    return table(header, rows)


def infogan_codes() -> str:
    header = ["prior, seed", "thickness", "slant", "gap"]
    rows = []
    for prior, suffix, seeds in (("uniform", "", range(5)), ("Gaussian", "-gaussian", range(5))):
        for seed in seeds:
            name = f"infogan-mnist-6.1.1{suffix}-10000-steps" + (f"-seed{seed}" if seed else "")
            rows.append(_codes(f"{prior}, {seed}", name))
    rows.append(_codes("uniform, 0, 40,000 steps", "infogan-mnist-6.1.1"))
    return table(header, rows)


def _codes(label: str, name: str) -> list[str]:
    found = record(f"{name}-evaluate")
    pairs = [cell(found, f"codes/{k}", ".2f").replace("and", "/") for k in ("thickness", "slant")]
    return [label, *pairs, cell(found, "codes/gap", ".2f")]


STACKED = {
    "default": "stackedgan-mnist-6.2.1-10000-steps",
    "no joint phase": "stackedgan-mnist-6.2.1-no-joint-10000-steps",
    "tanh noise heads": "stackedgan-mnist-6.2.1-tanh-10000-steps",
    "weight 10 of z1": "stackedgan-mnist-6.2.1-entropy10-10000-steps",
    "default, 40,000 steps": "stackedgan-mnist-6.2.1",
}


def stackedgan() -> str:
    header = ["StackedGAN", "FID-MNIST", "recall", "z0 back", "z1 back", "feature MSE"]
    rows = []
    for label, name in STACKED.items():
        found, trained = records(name), records(name, "train")
        rows.append(
            [
                label,
                spread(found, "fid_mnist"),
                spread(found, "sample_recall", ".2f"),
                spread(trained, "noise_recovery/z0", ".2f"),
                spread(trained, "noise_recovery/z1", ".2f"),
                spread(found, "conditional0", ".2f"),
            ]
        )
    return table(header, rows)


def stackedgan_noise() -> str:
    header = ["constant noise", "range", "thickness", "slant", "width"]
    found = record("stackedgan-mnist-6.2.1-evaluate")
    keys = [f"{attribute}/0" for attribute in ("thickness", "slant", "width")]
    rows = [
        [level, limits, *(cell(found, f"{level}/{key}", ".2f") for key in keys)]
        for level, limits in (("z0", "-4 to 4"), ("z1", "-1 to 1"))
    ]
    return table(header, rows)


TABLES = {
    "gans-10000": gans_10000,
    "gans-40000": gans_40000,
    "batch-norm": batch_norm,
    "r1": r1,
    "wgan-forms": wgan_forms,
    "infogan-codes": infogan_codes,
    "stackedgan": stackedgan,
    "stackedgan-noise": stackedgan_noise,
}

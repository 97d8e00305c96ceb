"""Tables of the variational autoencoders of chapter 8."""

import statistics

from tools.tables.cells import records, spread, table

# Name of the record, and number of seeds.
VAES = {
    "VAE, Dense layers": ("vae-mlp-mnist-8.1.1", 3),
    "VAE, convolutions": ("vae-cnn-mnist-8.1.2", 3),
    "CVAE": ("cvae-cnn-mnist-8.2.1", 3),
    "CVAE, beta 7": ("cvae-cnn-mnist-8.2.1-beta7", 3),
    "CVAE, beta 12": ("cvae-cnn-mnist-8.2.1-beta12", 3),
}


def bounds() -> str:
    header = ["nats", "-ELBO", "reconstruction", "KL", "IW bound", "epochs", "seeds"]
    rows = []
    for label, (name, seeds) in VAES.items():
        found = records(name, seeds=seeds)
        rows.append(
            [
                label,
                spread(found, "negative_elbo", ".2f"),
                spread(found, "reconstruction", ".2f"),
                spread(found, "kl", ".2f"),
                spread(found, "importance_weighted_bound", ".2f"),
                str(records(name, "train")[0]["epochs"]),
                str(seeds),
            ]
        )
    return table(header, rows)


def kl_per_dimension() -> str:
    header = ["KL of each number, nats", "larger", "smaller"]
    rows = []
    for label, (name, seeds) in VAES.items():
        pairs = [sorted(found["kl_per_dimension"]) for found in records(name, seeds=seeds)]
        found = [{"small": small, "large": large} for small, large in pairs]
        rows.append([label, spread(found, "large", ".2f"), spread(found, "small", ".2f")])
    return table(header, rows)


def codes() -> str:
    """How strongly each attribute follows the numbers of a code: the larger, then the smaller."""
    header = ["correlation with", "thickness", "slant", "width", "gap", "requested, %", "seeds"]
    rows = []
    for label, (name, seeds) in VAES.items():
        if not label.startswith("CVAE"):
            continue
        # The record of seed 1 with beta 1 is older than this measure.
        found = [each for each in records(name, seeds=seeds) if "attribute_gap" in each]
        cells = []
        for attribute in ("thickness", "slant", "width"):
            pairs = [sorted(each["attribute_correlations"][attribute]) for each in found]
            smaller, larger = map(statistics.mean, zip(*pairs, strict=True))
            cells.append(f"{larger:.2f} / {smaller:.2f}")
        gap = spread(found, "attribute_gap", ".2f")
        requested = spread(found, "conditional_accuracy", ".2f", 100)
        rows.append([label, *cells, gap, requested, str(len(found))])
    return table(header, rows)


TABLES = {"vae-bounds": bounds, "vae-kl": kl_per_dimension, "vae-codes": codes}

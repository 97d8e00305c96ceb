"""Tables of the variational autoencoders of chapter 8."""

from lib.tables.cells import records, spread, table

# Name of the record, and number of seeds.
VAES = {
    "VAE, Dense layers": ("vae-mlp-mnist-8.1.1", 3),
    "VAE, convolutions": ("vae-cnn-mnist-8.1.2", 3),
    "CVAE": ("cvae-cnn-mnist-8.2.1", 3),
    "CVAE, beta 7": ("cvae-cnn-mnist-8.2.1-beta7", 1),
    "CVAE, beta 12": ("cvae-cnn-mnist-8.2.1-beta12", 1),
}
CODES = {
    "CVAE, seed 0": "cvae-cnn-mnist-8.2.1",
    "CVAE, seed 2": "cvae-cnn-mnist-8.2.1-seed2",
    "CVAE, beta 7, seed 0": "cvae-cnn-mnist-8.2.1-beta7",
    "CVAE, beta 12, seed 0": "cvae-cnn-mnist-8.2.1-beta12",
}


def bounds() -> str:
    header = ["nats", "-ELBO", "reconstruction", "KL", "IW bound", "epochs", "seeds"]
    rows = []
    for label, (name, seeds) in VAES.items():
        found = records(name, seeds=seeds)
        rows.append(
            [
                label,
                spread(found, "negative_elbo"),
                spread(found, "reconstruction"),
                spread(found, "kl", ".2f"),
                spread(found, "importance_weighted_bound"),
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
    header = ["correlation with", "thickness", "slant", "width", "gap", "requested, %"]
    rows = []
    for label, name in CODES.items():
        (found,) = records(name)
        pairs = found["attribute_correlations"]
        rows.append(
            [
                label,
                *(
                    " / ".join(f"{value:.2f}" for value in pairs[attribute])
                    for attribute in ("thickness", "slant", "width")
                ),
                f"{found['attribute_gap']:.2f}",
                f"{100 * found['conditional_accuracy']:.1f}",
            ]
        )
    return table(header, rows)


TABLES = {"vae-bounds": bounds, "vae-kl": kl_per_dimension, "vae-codes": codes}

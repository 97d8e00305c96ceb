"""Tables of the variational autoencoders of chapter 8."""

import statistics

from tools import registry
from tools.tables.cells import NOT_MEASURED, cell, record, records, spread, table

SEEDS = 3


def names() -> dict[str, str]:
    """The records of the runs, by the names of the runs."""
    return {run: row.record_name.rstrip("-") for run, row in registry.runs([8]).items()}


def bounds() -> str:
    header = ["nats", "-ELBO", "reconstruction", "KL", "IW bound", "epochs", "seeds"]
    rows = []
    for label, name in names().items():
        found = records(name, seeds=SEEDS)
        rows.append(
            [
                label,
                spread(found, "negative_elbo", ".2f"),
                spread(found, "reconstruction", ".2f"),
                spread(found, "kl", ".2f"),
                spread(found, "importance_weighted_bound", ".2f"),
                cell(record(f"{name}-train"), "epochs", "d"),
                str(len(found)),
            ]
        )
    return table(header, rows)


def kl_per_dimension() -> str:
    header = ["KL of each number, nats", "larger", "smaller"]
    rows = []
    for label, name in names().items():
        pairs = [sorted(found["kl_per_dimension"]) for found in records(name, seeds=SEEDS)]
        found = [{"small": small, "large": large} for small, large in pairs]
        rows.append([label, spread(found, "large", ".2f"), spread(found, "small", ".2f")])
    return table(header, rows)


def codes() -> str:
    """How strongly each attribute follows the numbers of a code: the larger, then the smaller."""
    header = ["correlation with", "thickness", "slant", "width", "gap", "requested, %", "seeds"]
    rows = []
    for label, name in names().items():
        if not label.startswith("CVAE"):
            continue
        # The record of seed 1 with beta 1 is older than this measure.
        found = [each for each in records(name, seeds=SEEDS) if "attribute_gap" in each]
        cells = []
        for attribute in ("thickness", "slant", "width"):
            pairs = [sorted(each["attribute_correlations"][attribute]) for each in found]
            means = [f"{statistics.mean(each):.2f}" for each in zip(*pairs, strict=True)]
            cells.append(" / ".join(reversed(means)) or NOT_MEASURED)
        gap = spread(found, "attribute_gap", ".2f")
        requested = spread(found, "conditional_accuracy", ".2f", 100)
        rows.append([label, *cells, gap, requested, str(len(found))])
    return table(header, rows)


TABLES = {"vae-bounds": bounds, "vae-kl": kl_per_dimension, "vae-codes": codes}

"""Tables of what benchmarks measured."""

from tools.tables.cells import cell, record, table

NETWORKS = {
    "mlp": "MLP",
    "resnet": "ResNet20 v1",
    "densenet": "DenseNet-BC-100",
    "dcgan": "DCGAN",
    "cgan": "CGAN",
    "wgan": "WGAN",
    "lsgan": "LSGAN",
    "acgan": "ACGAN",
    "infogan": "InfoGAN",
    "stackedgan": "StackedGAN",
    "cyclegan": "CycleGAN",
}


PLAYERS = {
    "this script": "ours float32",
    "--mixed-precision": "ours bfloat16",
    "plain PyTorch": "torch float32",
}


def epochs(name: str, networks: dict[str, str], players: dict[str, str] = PLAYERS) -> str:
    """Seconds per epoch of epochs.py.

    Args:
        name: of the record.
        networks: {title of a column: network in the record}.
        players: {title of a row: contender}.
    """
    found, rows = record(name), []
    for label, who in players.items():
        keys = [f"contenders/{network} {who}/seconds_per_epoch" for network in networks.values()]
        rows.append([label, *(cell(found, key, ".1f") for key in keys)])
    return table(["seconds per epoch", *networks], rows)


def chapter1() -> str:
    return epochs("epochs-chapter1", {"MLP": "mlp", "CNN": "cnn", "RNN": "rnn"})


PLAYERS_2 = {
    "this script": "ours float32",
    "--mixed-precision": "ours bfloat16",
    "with augmentation": "augmented float32",
    "Keras' normalization": "unfused float32",
    "plain PyTorch": "torch float32",
}


def chapter2() -> str:
    networks = {"ResNet20": "resnet", "DenseNet-BC-100": "densenet"}
    return epochs("epochs-chapter2", networks, PLAYERS_2)


def chapter2_batches_of_128() -> str:
    networks = {"ResNet20, book": "resnet", "ResNet20, one-cycle": "resnet_one_cycle"}
    return epochs("epochs-chapter2-batch-128", networks, PLAYERS_2)


def chapter8() -> str:
    networks = {"Dense layers": "vae_mlp", "convolutions": "vae_cnn", "CVAE": "cvae"}
    players = {label: who for label, who in PLAYERS.items() if "bfloat16" not in who}
    return epochs("epochs-chapter8", networks, players)


def _steps(name: str, players: dict[str, str]) -> str:
    """Rows of gan_step.py: {title: "gan who precision"} of the record."""
    forms = {"median_ms": ",.0f", "gflop_per_step": ".1f", "share_of_peak": ".0%"}
    found, rows = record(name), []
    for label, who in players.items():
        values = (cell(found, f"contenders/{who}/{key}", form) for key, form in forms.items())
        rows.append([label, *values])
    return table(["", "ms per step", "GFLOP per step", "of the peak"], rows)


def gan_step() -> str:
    return _steps(
        "gan-step",
        {
            "DCGAN": "dcgan ours float32",
            "--mixed-precision": "dcgan ours bfloat16",
            "the book's loop": "dcgan book float32",
            "PyTorch": "dcgan torch float32",
            "PyTorch, autocast": "dcgan torch bfloat16",
            "CGAN": "cgan ours float32",
            "CGAN, --mixed-precision": "cgan ours bfloat16",
        },
    )


def gan_steps() -> str:
    names = ("dcgan", "cgan", "wgan", "lsgan", "acgan", "infogan", "stackedgan", "cyclegan")
    players = {NETWORKS[name]: f"{name} ours float32" for name in names}
    others = {
        "DCGAN, the book's loop": "dcgan book float32",
        "DCGAN, PyTorch": "dcgan torch float32",
    }
    return _steps("gan-step-all", players | others)


def backends() -> str:
    """A DCGAN step on the processor with each backend, next to a plain PyTorch loop."""
    rows = []
    for label in ("TensorFlow", "PyTorch", "JAX"):
        found = record(f"gan-step-{label.lower().removeprefix('py')}")
        keys = [f"contenders/dcgan {who} float32/median_ms" for who in ("ours", "torch")]
        rows.append([label, *(cell(found, key, ",.0f") for key in keys)])
    return table(["backend", "ms per step", "plain PyTorch"], rows)


TABLES = {
    "backends": backends,
    "gan-step": gan_step,
    "gan-steps": gan_steps,
    "speed-1": chapter1,
    "speed-2": chapter2,
    "speed-2-batch-128": chapter2_batches_of_128,
    "speed-8": chapter8,
}

"""Tables of what benchmarks measured."""

from lib.tables.cells import record, table

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


def scaling():
    header = ["network", "gradients, MB", "GFLOP per image", "hidden at batch"]
    rows = []
    for name, network in record("devices")["networks"].items():
        two = network["devices"]["2"]
        numbers = (network["gradient_megabytes"], network["gflop_per_image"])
        hidden = f"{two['hidden_batch']:,}"
        rows.append([NETWORKS[name], *(f"{value:.3g}" for value in numbers), hidden])
    return table(header, rows)


PLAYERS = {
    "this script": "ours~float32",
    "--mixed-precision": "ours~bfloat16",
    "plain PyTorch": "torch~float32",
}


def epochs(name, networks, players=PLAYERS):
    """Seconds per epoch of epochs.py.

    Args:
        name: of the record.
        networks: {title of a column: network in the record}.
        players: {title of a row: contender}.
    """
    found = record(name)["contenders"]
    rows = [
        [
            label,
            *(
                f"{found[f'{n} {who}'.replace('~', ' ')]['seconds_per_epoch']:.1f}"
                for n in networks.values()
            ),
        ]
        for label, who in players.items()
    ]
    return table(["seconds per epoch", *networks], rows)


def chapter1():
    return epochs("epochs-chapter1", {"MLP": "mlp", "CNN": "cnn", "RNN": "rnn"})


def chapter2():
    players = {
        "this script": "ours~float32",
        "--mixed-precision": "ours~bfloat16",
        "with augmentation": "augmented~float32",
        "Keras' normalization": "unfused~float32",
        "plain PyTorch": "torch~float32",
    }
    networks = {"ResNet20": "resnet", "DenseNet-BC-100": "densenet"}
    return epochs("epochs-chapter2", networks, players)


def chapter8():
    networks = {"Dense layers": "vae_mlp", "convolutions": "vae_cnn", "CVAE": "cvae"}
    players = {label: who for label, who in PLAYERS.items() if "bfloat16" not in who}
    return epochs("epochs-chapter8", networks, players)


TABLES = {"scaling": scaling, "speed-1": chapter1, "speed-2": chapter2, "speed-8": chapter8}

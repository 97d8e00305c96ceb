"""Seconds per epoch of classifiers and VAEs, and of a plain PyTorch loop, side by side in one run.

    python3 benchmarks/epochs.py                                 # 5 rounds of 40 steps
    python3 benchmarks/epochs.py --networks cnn,resnet --output FILE.json
    python3 benchmarks/epochs.py --networks resnet,resnet_one_cycle --batch-size 128

A contender trains for some steps a round, on images in memory. The batch size is that of the
listing, or of the one-cycle recipe if the name ends in one_cycle; `--batch-size` sets another one.
Seconds per epoch are milliseconds per step times the steps of an epoch. The contenders:

    ours       network, loss and optimizer of the script, without augmentation, under fit() as
               lib/run/training.py runs it. The start of fit(), once an epoch in training, is
               measured
    augmented  ours with the script's augmentation, for the networks that have one
    unfused    ours with Keras' own batch normalization instead of that of lib/engine, for the
               networks that normalize
    torch      a plain PyTorch loop of the same network with the same optimizer on the same images,
               without augmentation. The table shows the faster one of both memory layouts

bfloat16 is mixed precision with float32 weights, Keras' mixed_bfloat16 policy. The contenders take
turns, see rounds.py.
"""

import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rounds
from benchmarks.rounds import milliseconds
from lib import one_cycle
from lib.files.errors import UserError
from lib.run import kinds, program
from tools.scripts import load_script

ROUNDS = 5
STEPS = 40
L2 = 1e-4


def cross_entropy(network, images, labels):
    """The loss of a classifier in PyTorch, and how many images it classifies correctly."""
    from torch.nn import functional

    logits = network(images)
    correct = (logits.argmax(1) == labels).sum().item()
    return functional.cross_entropy(logits, labels), correct


def negative_elbo(network, images, labels):
    """The loss of a VAE in PyTorch, and 0."""
    from torch.nn import functional

    logits, mean, log_var = network(images, labels)
    reconstruction = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    kl = 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum()
    return (reconstruction + kl) / len(images), 0


@dataclass
class Network:
    """A network to measure.

    Args:
        script: its path in the repository.
        build: function of the script as a module, and of whether to augment, that returns the
            model, compiled.
        shape: of one input.
        torch: function that returns (network, optimizer) in PyTorch for this input.
        epoch_images: images in the training set.
        batch_size: the listing's or the recipe's.
        augments: whether the script has an augmentation.
        normalizes: whether the network has batch normalization.
        arrays: function of images and labels that returns what `fit` takes, x and y.
        torch_loss: function of the network, images and labels that returns (loss, how many images
            are classified correctly).
    """

    script: str
    build: Callable
    shape: tuple[int, ...]
    torch: Callable
    epoch_images: int = 60_000
    batch_size: int = 128
    augments: bool = False
    normalizes: bool = False
    arrays: Callable = lambda images, labels: (images, labels)
    torch_loss: Callable = cross_entropy

    @property
    def contenders(self):
        augmented = ["augmented float32"] if self.augments else []
        unfused = ["unfused float32"] if self.normalizes else []
        return ["ours float32", "ours bfloat16", *augmented, *unfused, "torch float32"]


def build_classifier(script, augmentation):
    model = script.build_classifier()
    script.compile_classifier(model, 1000)
    return model


def build_resnet20(script, augmentation):
    model = script.build_resnet(20, 1, script.augment if augmentation else None)
    script.compile_classifier(model, 1000)
    return model


def build_resnet20_one_cycle(script, augmentation):
    model = script.build_resnet(20, 1, script.augment if augmentation else None)
    compile_one_cycle(model, script)
    return model


def build_densenet100_one_cycle(script, augmentation):
    model = script.build_densenet(100, 12, script.augment if augmentation else None)
    compile_one_cycle(model, script)
    return model


def compile_one_cycle(model, script):
    """Compiles a network with the one-cycle recipe of its script, as for 1,000 steps."""
    one_cycle.compile_one_cycle(model, 1000, script.ONE_CYCLE)


def build_densenet100(script, augmentation):
    model = script.build_densenet(100, 12, script.augment if augmentation else None)
    # With augmentation the network has no dropout; the PyTorch network has none either.
    script.compile_classifier(model, 1000)
    return model


def build_vae(script, augmentation):
    from lib import vae

    model = script.build_vae(script.build_encoder(2), script.build_decoder(2), 0)
    vae.compile_vae(model, script.build_optimizer(1000))
    return model


def one_hot(labels):
    return np.eye(10, dtype="float32")[labels]


# The networks in PyTorch


def torch_mlp():
    from torch import nn, optim

    network = nn.Sequential(nn.Flatten())
    inputs = 784
    for _ in range(2):
        network += nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Dropout(0.45))
        inputs = 256
    network += nn.Sequential(nn.Linear(256, 10))
    return network, optim.Adam(network.parameters())


def torch_cnn():
    from torch import nn, optim

    network = nn.Sequential()
    channels = 1
    for pool in (True, True, False):
        network += nn.Sequential(nn.Conv2d(channels, 64, 3), nn.ReLU())
        if pool:
            network += nn.Sequential(nn.MaxPool2d(2))
        channels = 64
    network += nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(576, 10))
    return network, optim.Adam(network.parameters())


def torch_rnn():
    from torch import nn, optim

    class RNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.2)
            self.cells = nn.RNN(28, 256, batch_first=True)
            # Keras' SimpleRNN has one bias, PyTorch's two.
            nn.init.zeros_(self.cells.bias_hh_l0)
            self.cells.bias_hh_l0.requires_grad_(False)
            self.dense = nn.Linear(256, 10)

        def forward(self, x):
            outputs, _ = self.cells(self.dropout(x.reshape(-1, 28, 28)))
            return self.dense(outputs[:, -1])

    network = RNN()
    return network, optim.SGD(network.parameters(), 0.01, momentum=0.9)


def torch_resnet20():
    from torch import nn, optim

    def conv(inputs, outputs, size, strides):
        return nn.Conv2d(inputs, outputs, size, strides, padding=size // 2)

    class Block(nn.Module):
        def __init__(self, inputs, outputs, strides):
            super().__init__()
            self.branch = nn.Sequential(
                conv(inputs, outputs, 3, strides),
                nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
                nn.ReLU(),
                conv(outputs, outputs, 3, 1),
                nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
            )
            self.shortcut = conv(inputs, outputs, 1, 2) if strides == 2 else nn.Identity()

        def forward(self, x):
            return nn.functional.relu(self.branch(x) + self.shortcut(x))

    network = nn.Sequential(
        conv(3, 16, 3, 1), nn.BatchNorm2d(16, eps=1e-3, momentum=0.01), nn.ReLU()
    )
    channels = 16
    for stage in range(3):
        for block in range(3):
            strides = 2 if stage and not block else 1
            network += nn.Sequential(Block(channels, 16 * 2**stage, strides))
            channels = 16 * 2**stage
    network += nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))
    kernels = [p for p in network.parameters() if p.ndim == 4]
    others = [p for p in network.parameters() if p.ndim != 4]
    # The gradient of Keras' L2(1e-4) is 2e-4 times the kernel.
    groups = [{"params": kernels, "weight_decay": 2 * L2}, {"params": others}]
    return network, optim.Adam(groups, 1e-3)


def torch_densenet100():
    import torch
    from torch import nn, optim

    def layer(inputs, outputs, size):
        return nn.Sequential(
            nn.BatchNorm2d(inputs, eps=1e-3, momentum=0.01),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False),
        )

    class Bottleneck(nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.branch = nn.Sequential(layer(inputs, 48, 1), layer(48, 12, 3))

        def forward(self, x):
            return torch.cat([x, self.branch(x)], 1)

    network = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1, bias=False))
    channels = 24
    for block in range(3):
        if block:
            network += nn.Sequential(layer(channels, channels // 2, 1), nn.AvgPool2d(2))
            channels //= 2
        for _ in range(16):
            network += nn.Sequential(Bottleneck(channels))
            channels += 12
    network += nn.Sequential(
        nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
        nn.ReLU(),
        nn.AvgPool2d(8),
        nn.Flatten(),
        nn.Linear(channels, 10),
    )
    return network, optim.RMSprop(network.parameters(), 1e-3, alpha=0.9, eps=1e-7)


def torch_resnet20_one_cycle():
    network, _ = torch_resnet20()
    return network, torch_one_cycle(network)


def torch_densenet100_one_cycle():
    network, _ = torch_densenet100()
    return network, torch_one_cycle(network)


def torch_one_cycle(network):
    """SGD of the one-cycle recipe: Nesterov momentum, and weight decay on kernels only."""
    from torch import optim

    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": kernels, "weight_decay": L2}, {"params": others}]
    return optim.SGD(groups, 0.1, momentum=one_cycle.MOMENTUM, nesterov=True)


def torch_vae(encoder, decoder, hidden, label_pixels=0):
    """A VAE with codes of two numbers, whose encoder ends in `hidden` numbers.

    With `label_pixels`, it is conditional: the encoder gets the label as a second channel of that
    many pixels, the decoder gets it next to the code.
    """
    import torch
    from torch import nn

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = encoder, decoder
            self.mean, self.log_var = nn.Linear(hidden, 2), nn.Linear(hidden, 2)
            if label_pixels:
                self.channel = nn.Linear(10, label_pixels)

        def forward(self, images, labels):
            x = images
            if label_pixels:
                labels = nn.functional.one_hot(labels, 10).float()
                x = torch.cat([x, self.channel(labels).reshape(x.shape)], 1)
            x = self.encoder(x)
            mean, log_var = self.mean(x), self.log_var(x)
            z = mean + (log_var / 2).exp() * torch.randn_like(mean)
            if label_pixels:
                z = torch.cat([z, labels], 1)
            return self.decoder(z).reshape(images.shape), mean, log_var

    return VAE()


def torch_vae_mlp():
    from torch import nn, optim

    encoder = nn.Sequential(nn.Linear(784, 512), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, 784))
    network = torch_vae(encoder, decoder, 512)
    return network, optim.Adam(network.parameters())


def torch_vae_cnn(label_pixels=0):
    from torch import nn, optim

    encoder = nn.Sequential(
        nn.Conv2d(2 if label_pixels else 1, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 49, 16),
        nn.ReLU(),
    )
    decoder = nn.Sequential(
        nn.Linear(12 if label_pixels else 2, 64 * 49),
        nn.ReLU(),
        nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 64, 3, 2, 1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, 2, 1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 3, 1, 1),
    )
    network = torch_vae(encoder, decoder, 16, label_pixels)
    return network, optim.RMSprop(network.parameters(), 1e-3, alpha=0.9, eps=1e-7)


def torch_cvae():
    return torch_vae_cnn(label_pixels=784)


RESNET = Network(
    "chapter2-deep-networks/resnet-cifar10-2.2.1.py",
    build_resnet20,
    (32, 32, 3),
    torch_resnet20,
    epoch_images=50_000,
    batch_size=32,
    augments=True,
    normalizes=True,
)
DENSENET = replace(
    RESNET,
    script="chapter2-deep-networks/densenet-cifar10-2.4.1.py",
    build=build_densenet100,
    torch=torch_densenet100,
)
NETWORKS = {
    "mlp": Network(
        "chapter1-keras-quick-tour/mlp-mnist-1.3.2.py", build_classifier, (784,), torch_mlp
    ),
    "cnn": Network(
        "chapter1-keras-quick-tour/cnn-mnist-1.4.1.py", build_classifier, (28, 28, 1), torch_cnn
    ),
    "rnn": Network(
        "chapter1-keras-quick-tour/rnn-mnist-1.5.1.py", build_classifier, (28, 28), torch_rnn
    ),
    "resnet": RESNET,
    "resnet_one_cycle": replace(
        RESNET, build=build_resnet20_one_cycle, torch=torch_resnet20_one_cycle, batch_size=128
    ),
    "densenet": DENSENET,
    "densenet_one_cycle": replace(
        DENSENET,
        build=build_densenet100_one_cycle,
        torch=torch_densenet100_one_cycle,
        batch_size=128,
    ),
    "vae_mlp": Network(
        "chapter8-vae/vae-mlp-mnist-8.1.1.py",
        build_vae,
        (784,),
        torch_vae_mlp,
        arrays=lambda images, labels: (images, images),
        torch_loss=negative_elbo,
    ),
    "vae_cnn": Network(
        "chapter8-vae/vae-cnn-mnist-8.1.2.py",
        build_vae,
        (28, 28, 1),
        torch_vae_cnn,
        arrays=lambda images, labels: (images, images),
        torch_loss=negative_elbo,
    ),
    "cvae": Network(
        "chapter8-vae/cvae-cnn-mnist-8.2.1.py",
        build_vae,
        (28, 28, 1),
        torch_cvae,
        arrays=lambda images, labels: ((images, one_hot(labels)), images),
        torch_loss=negative_elbo,
    ),
}


def parse_args():
    parser = rounds.parser(__doc__, ROUNDS, STEPS)
    parser.add_argument(
        "--networks",
        type=rounds.names_out_of(NETWORKS),
        default=list(NETWORKS),
        help=f"(default {','.join(NETWORKS)})",
    )
    parser.add_argument(
        "--batch-size", type=kinds.positive_int, help="of all networks (default: the listing's)"
    )
    rounds.add_precisions(parser)
    return parser.parse_args()


def chosen(name, args):
    """The network of that name, with the batch size of `args` if it has one."""
    network = NETWORKS[name]
    return replace(network, batch_size=args.batch_size) if args.batch_size else network


def examples(network, steps):
    """Random images and labels for that many steps; their content does not change the speed."""
    rng = np.random.default_rng(0)
    count = steps * network.batch_size
    return rng.random((count, *network.shape), "float32"), rng.integers(0, 10, count)


def ours(network, kind, precision, args):
    """The script's own network under `fit`."""
    import keras
    import tensorflow

    from lib.engine import backends

    keras.utils.set_random_seed(0)
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    if kind != "unfused":
        backends.speed_up_batch_normalization()
    script = load_script(network.script)
    dropout_free = network.augments and kind != "augmented"
    if dropout_free and hasattr(script, "DROPOUT"):
        script.DROPOUT = 0
    model = network.build(script, kind == "augmented")
    x, y = network.arrays(*examples(network, args.steps))
    data = backends.feed({"x": x, "y": y}, network.batch_size)
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)

    def train():
        model.fit(**data, verbose=0, callbacks=[look])

    train()
    facts = {
        "parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
        **rounds.facts(tensorflow, keras),
    }
    return facts, lambda: {"": milliseconds(train, args.steps)}


def plain_torch(network, kind, precision, args):
    """A plain PyTorch loop, in each memory layout where there are images."""
    import torch

    torch.manual_seed(0)
    layouts = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
    if len(network.shape) < 3:
        layouts.pop("channels last")
    loops = {name: torch_loop(network, args, layouts[name]) for name in layouts}
    for _, train in loops.values():
        train()
    facts = {
        "parameters": loops["contiguous"][0],
        "versions": {"torch": torch.__version__},
    }

    def play():
        return {name: milliseconds(train, args.steps) for name, (_, train) in loops.items()}

    return facts, play


def torch_loop(network, args, layout):
    """Returns (number of parameters, function that plays a round)."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, optimizer = network.torch()
    model.to(device, memory_format=layout)
    x, y = examples(network, args.steps)
    if len(network.shape) == 3:
        x = x.transpose(0, 3, 1, 2)
    x, y = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)
    if x.ndim == 4:
        x = x.contiguous(memory_format=layout)

    def train():
        correct = loss_sum = 0.0
        for step in range(args.steps):
            part = slice(step * network.batch_size, (step + 1) * network.batch_size)
            images, labels = x[part].to(device), y[part].to(device)
            loss, correct_now = network.torch_loss(model, images, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            # Keras also logs these.
            loss_sum += loss.item()
            correct += correct_now

    return sum(p.numel() for p in model.parameters() if p.requires_grad), train


CONTENDERS = {"ours": ours, "augmented": ours, "unfused": ours, "torch": plain_torch}


def ready(args):
    """Returns (facts, play) of the contender, for `rounds.contend`."""
    name, kind, precision = args.contender.split()
    return CONTENDERS[kind](chosen(name, args), kind, precision, args)


def summary(contender, network):
    """The numbers of a contender, in the fastest of its variants."""
    variant, values = contender.fastest()
    epoch = math.ceil(network.epoch_images / network.batch_size) / 1000
    numbers = {
        **rounds.times(values, 3),
        "seconds_per_epoch": round(epoch * statistics.median(values), 2),
        "peak_rss_mb": contender.peak_rss_mb,
    }
    if variant:
        numbers["layout"] = variant
    return numbers


def main(args):
    if args.contender:
        rounds.contend(lambda: ready(args))
        return
    rounds.check_output(args.output)
    names = [
        f"{name} {who}"
        for name in args.networks
        for who in NETWORKS[name].contenders
        if who.split()[1] in args.precisions
    ]
    flags = {"--steps": args.steps}
    if args.batch_size:
        flags["--batch-size"] = args.batch_size
    contenders = rounds.play(__file__, names, flags, args.rounds)
    for name, contender in contenders.items():
        reference = contenders[f"{name.split()[0]} ours float32"].facts
        if contender.facts["parameters"] != reference["parameters"]:
            raise UserError(
                f"'{name}' is another network: {contender.facts['parameters']} parameters, "
                f"expected {reference['parameters']}"
            )
    table = {
        name: summary(contender, chosen(name.split()[0], args))
        for name, contender in contenders.items()
    }
    first = contenders[names[0]].facts
    print(f"\n{first['device']}, {args.rounds} rounds of {args.steps} steps")
    print(f"\n{'':36}{'ms/step':>9}{'min':>9}{'max':>9}{'s/epoch':>9}")
    for name, row in table.items():
        keys = ("median_ms", "min_ms", "max_ms", "seconds_per_epoch")
        print(f"{name:36}" + "".join(f"{row[k]:9.2f}" for k in keys) + f"  {row.get('layout', '')}")
    rounds.record(
        args,
        contenders,
        batch_sizes={name: chosen(name, args).batch_size for name in args.networks},
        contenders=table,
    )


if __name__ == "__main__":
    program.run(main, parse_args())

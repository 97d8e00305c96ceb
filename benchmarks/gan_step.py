"""Milliseconds per training step of a GAN and of its alternatives, side by side in one run.

    python3 benchmarks/gan_step.py                                 # 5 rounds of 20 steps, batch 64
    python3 benchmarks/gan_step.py --gans dcgan --output FILE.json
    KERAS_BACKEND=jax python3 benchmarks/gan_step.py --steps 200   # ours with JAX; on a GPU
    KERAS_BACKEND=torch python3 benchmarks/gan_step.py --gans dcgan    # ours with PyTorch

The contenders have the same networks, batch size and MNIST images in memory. Each draws its batches
from the images within the measured time:

    ours   the model of the script, under fit() on arrays as lib/run/training.py runs it. The start
           of fit() is measured once a round; a training run starts it once in 500 steps
    book   the loop of the book's listing: generator.predict(), discriminator.train_on_batch(), then
           train_on_batch() of generator and discriminator combined, on other noise. Its GFLOP count
           this second pass of the generator
    torch  a plain PyTorch loop that does the work of ours: both updates share one batch of fakes,
           detached for the discriminator, and the generator's update computes no gradients of the
           discriminator's weights. The table shows the faster one of both memory layouts

bfloat16 is mixed precision, with float32 weights: Keras' mixed_bfloat16 policy, PyTorch's autocast.

Keras 3 reads `trainable` when it traces a train function. The book's loop therefore calls
discriminator.train_on_batch() once while the discriminator is trainable. Only then is the
discriminator frozen and the combined model compiled. JAX and PyTorch read `trainable` in each
call, and the book's loop does not take part. Before the measurement, each contender checks
that each of its calls changes the weights that it should, and no others.

The contenders take turns, see rounds.py. In the same rounds, the contender "peak" measures large
plain convolutions with the backend of ours; the peak is the best of a few shapes. A contender's
share of the peak is its GFLOP/s, from its median, over the peak of its precision. On a GPU, the
convolutions of float32 may round their inputs to TF32, in all contenders.

CycleGAN translates CIFAR-10 between gray and color; its listing has batches of 32.

GFLOP are 2 x the multiply-adds of the Dense, Conv2D and Conv2DTranspose layers, padding included. A
step counts its forward passes, and the gradients of inputs and weights that it needs.
"""

import functools
import importlib
import math
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rounds
from benchmarks.rounds import milliseconds
from lib.cyclegan.tasks import Task
from lib.data import datasets
from lib.files.errors import UserError
from lib.run import kinds, program
from tools.scripts import load_script

ROUNDS = 5
STEPS = 20
BATCH_SIZE = 64
IMAGES = 4096
PEAK_KERNEL = 5
PEAK_INPUTS = ((64, 14, 14, 128), (64, 28, 28, 128))
PEAK_CALLS = 2


def mnist_batch(rng, size):
    """(images,), as the DCGAN of MNIST takes them."""
    images, _ = mnist()
    return (images[rng.integers(0, len(images), size)],)


def labeled_mnist_batch(rng, size):
    """(images, their labels, labels of the fakes), as the CGAN of MNIST takes them."""
    images, labels = mnist()
    index = rng.integers(0, len(images), size)
    one_hot = np.eye(10, dtype="float32")
    return images[index], one_hot[labels[index]], one_hot[rng.integers(0, 10, size)]


def wgan_batch(rng, size):
    """(images,) for the critic's five updates."""
    return mnist_batch(rng, 5 * size)


def infogan_batch(rng, size):
    """(images, their labels, labels of the fakes, code 1, code 2)."""
    codes = rng.normal(0, 0.5, (2, size, 1)).astype("float32")
    return (*labeled_mnist_batch(rng, size), *codes)


def stackedgan_batch(rng, size):
    """(images, their features, their labels, z1, z0, joint); any features cost the same."""
    images, labels, _ = labeled_mnist_batch(rng, size)
    features = rng.random((size, 256), "float32")
    z1, z0 = rng.normal(0, 0.5, (2, size, 50)).astype("float32")
    return images, features, labels, z1, z0, np.zeros((size, 1), "float32")


def cyclegan_batch(rng, size):
    """(gray images, color images)."""
    images = cifar10()
    gray = images.mean(axis=-1, keepdims=True)
    return tuple(x[rng.integers(0, len(x), size)] for x in (gray, images))


def build_stackedgan(script):
    return script.StackedGAN(*script.build_encoder()[:2])


@dataclass
class Gan:
    """A GAN to measure.

    Args:
        script: its path in the repository.
        build: function of the script, as a module, that returns the model to train.
        batch: function of a NumPy generator and a size that returns what `fit` gets as one batch.
        levels: for each pair of networks the suffix of their names, and the frozen network that
            the fakes also pass through, if any.
        n_critic: updates of the discriminator on one batch.
        contenders: who plays, each a key of CONTENDERS and a precision.
    """

    script: str
    build: Callable
    batch: Callable
    levels: tuple = (("", None),)
    n_critic: int = 1
    contenders: tuple[str, ...] = ("ours float32", "ours bfloat16")

    def joined(self, rng, size, steps):
        """The batches of some steps, joined as the `x` of `fit`."""
        batches = [self.batch(rng, size) for _ in range(steps)]
        return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))

    def networks(self, model):
        """The networks that a step trains."""
        return [
            getattr(model, f"{kind}{suffix}")
            for suffix, _ in self.levels
            for kind in ("generator", "discriminator")
        ]

    def multiply_adds(self, model):
        """Multiply-adds of one training step for each image of the batch."""
        total = 0
        for suffix, judge in self.levels:
            generator = getattr(model, f"generator{suffix}")
            discriminator = getattr(model, f"discriminator{suffix}")
            total += step_multiply_adds(generator, discriminator, self.n_critic)
            if judge is not None:
                total += through_multiply_adds(getattr(model, judge))
        return total


class CycleGan(Gan):
    """Two generators and two discriminators in a cycle."""

    def networks(self, model):
        return [model.g_source, model.g_target, model.d_source, model.d_target]

    def multiply_adds(self, model):
        """As `step_multiply_adds` for each pair, and each generator's way back in the cycle."""
        source, target = (model.g_source, model.d_source), (model.g_target, model.d_target)
        total = sum(step_multiply_adds(*pair) for pair in (source, target))
        # The gradient goes through the way back, to its weights and into the fake before it.
        for generator, _ in (source, target):
            total += through_multiply_adds(generator) + forward_multiply_adds(generator)
        return total


GANS = {
    "dcgan": Gan(
        "chapter4-gan/dcgan-mnist-4.2.1.py",
        lambda script: script.DCGAN(0),
        mnist_batch,
        contenders=(
            "ours float32",
            "ours bfloat16",
            "book float32",
            "torch float32",
            "torch bfloat16",
        ),
    ),
    "cgan": Gan(
        "chapter4-gan/cgan-mnist-4.3.1.py",
        lambda script: script.CGAN(0),
        labeled_mnist_batch,
    ),
    "wgan": Gan(
        "chapter5-improved-gan/wgan-mnist-5.1.2.py",
        lambda script: script.build_wgan(0, form="clip"),
        wgan_batch,
        n_critic=5,
    ),
    "lsgan": Gan(
        "chapter5-improved-gan/lsgan-mnist-5.2.1.py",
        lambda script: script.build_lsgan(0),
        mnist_batch,
    ),
    "acgan": Gan(
        "chapter5-improved-gan/acgan-mnist-5.3.1.py",
        lambda script: script.build_acgan(0),
        labeled_mnist_batch,
    ),
    "infogan": Gan(
        "chapter6-disentangled-gan/infogan-mnist-6.1.1.py",
        lambda script: script.build_infogan(0),
        infogan_batch,
    ),
    "stackedgan": Gan(
        "chapter6-disentangled-gan/stackedgan-mnist-6.2.1.py",
        build_stackedgan,
        stackedgan_batch,
        levels=(("0", "encoder0"), ("1", "encoder1")),
    ),
    "cyclegan": CycleGan(
        "chapter7-cross-domain-gan/cyclegan-7.1.1.py",
        lambda script: script.build_cyclegan(Task("cifar10")),
        cyclegan_batch,
    ),
}


def parse_args():
    parser = rounds.parser(__doc__, ROUNDS, STEPS)
    parser.add_argument(
        "--batch-size", type=kinds.positive_int, default=BATCH_SIZE, help=f"(default {BATCH_SIZE})"
    )
    parser.add_argument(
        "--gans",
        type=rounds.names_out_of(GANS),
        default=list(GANS),
        help=f"(default {','.join(GANS)})",
    )
    rounds.add_precisions(parser)
    return parser.parse_args()


# Arithmetic


@dataclass
class LayerCost:
    """What a layer costs and which gradients flow through it.

    Args:
        multiply_adds: of one sample's forward pass, and of its gradient with respect to the
            layer's input, and of that with respect to its weights.
        after_weights: whether its input depends on weights of its network.
        after_input: whether its input depends on the first input of its network.
    """

    multiply_adds: int
    after_weights: bool
    after_input: bool


def layer_costs(network):
    """A `LayerCost` for each Dense, Conv2D and Conv2DTranspose layer of a functional model.

    Raises:
        ValueError: if another layer also has a kernel, which would not be counted.
    """
    import keras
    from keras import layers

    first_input = network.inputs[0]._keras_history.operation
    before = {}  # from each operation to all those that its input depends on
    costs = []
    for operation in network.operations:
        before[operation] = set()
        if isinstance(operation, layers.InputLayer):
            continue
        for tensor in keras.tree.flatten(operation.input):
            parent = tensor._keras_history.operation
            before[operation] |= {parent} | before[parent]
        if isinstance(operation, (layers.Dense, layers.Conv2D, layers.Conv2DTranspose)):
            transposed = isinstance(operation, layers.Conv2DTranspose)
            positions = (operation.input if transposed else operation.output).shape[1:-1]
            costs.append(
                LayerCost(
                    math.prod(operation.kernel.shape) * math.prod(positions),
                    any(getattr(o, "weights", ()) for o in before[operation]),
                    first_input in before[operation],
                )
            )
        elif any(len(v.shape) > 1 for v in getattr(operation, "weights", ())):
            raise ValueError(f"cannot count the multiply-adds of layer '{operation.name}'")
    return costs


def forward_multiply_adds(network):
    """Multiply-adds of one sample's forward pass."""
    return sum(cost.multiply_adds for cost in layer_costs(network))


def step_multiply_adds(generator, discriminator, n_critic=1):
    """Multiply-adds of one training step for each image of the batch.

    For each update of the discriminator, the generator draws one fake. The update passes the fake
    and a real image forward, and the gradients back to all weights of the discriminator. The
    generator's update passes the last fake through the discriminator, and the gradients back to
    all weights of the generator.
    """
    critic = forward_multiply_adds(discriminator) + _to_weights(discriminator)
    return (
        n_critic * (forward_multiply_adds(generator) + 2 * critic)
        + through_multiply_adds(discriminator)
        + _to_weights(generator)
    )


def through_multiply_adds(network):
    """Multiply-adds of one sample's forward pass and of the gradient of its input."""
    through = sum(c.multiply_adds for c in layer_costs(network) if c.after_input)
    return forward_multiply_adds(network) + through


def _to_weights(network):
    """Multiply-adds of all weights' gradients: a first layer needs none for its input."""
    return sum(c.multiply_adds * (2 if c.after_weights else 1) for c in layer_costs(network))


# The contenders. Each function makes one ready and returns (facts, play): facts about it, and a
# function that plays one round and returns {variant: measured value}.


def ours(gan, precision, args):
    """The script's own model under `fit`."""
    import keras

    from lib.engine import backends, devices

    keras.utils.set_random_seed(0)
    backends.speed_up_batch_normalization()
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = gan.build(load_script(gan.script))
    model.steps_per_execution = devices.steps_per_execution()
    rng = np.random.default_rng(0)
    # The progress line of a training run also reads the logs of each step.
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)

    def train(steps):
        x = gan.joined(rng, args.batch_size, steps)
        model.fit(**backends.feed({"x": x}, len(x[0]) // steps), verbose=0, callbacks=[look])

    networks = gan.networks(model)
    check_moves("fit()", lambda: train(1), moved=[values_of(n) for n in networks])
    facts = {
        "gflop": gflop(gan.multiply_adds(model), args),
        "parameters": [sum(math.prod(v.shape) for v in n.trainable_variables) for n in networks],
        **rounds.facts(importlib.import_module(keras.config.backend()), keras, np),
    }
    return facts, lambda: {"": milliseconds(lambda: train(args.steps), args.steps)}


def book(gan, precision, args):
    """The loop of the book's listing."""
    import keras

    from lib.engine.optimizers import rmsprop

    keras.utils.set_random_seed(0)
    script = load_script(gan.script)
    size = args.batch_size
    rng = np.random.default_rng(0)
    generator, discriminator = script.build_generator(), script.build_discriminator()

    def compile_for(network, learning_rate, decay):
        network.compile(
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=rmsprop(learning_rate, decay),
            metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        )

    def noise():
        return rng.uniform(-1.0, 1.0, (size, script.LATENT_SIZE))

    def draw_fakes():
        return generator.predict(noise(), verbose=0)

    def train_discriminator(fakes):
        (images,) = gan.batch(rng, size)
        x = np.concatenate((images, fakes))
        y = np.ones((2 * size, 1))
        y[size:] = 0.0
        discriminator.train_on_batch(x, y)

    def train_generator():
        adversarial.train_on_batch(noise(), np.ones((size, 1)))

    compile_for(discriminator, script.LEARNING_RATE, script.DECAY)
    train_discriminator(draw_fakes())  # traced here, trainable: see the top of this file
    discriminator.trainable = False
    adversarial = keras.Model(generator.input, discriminator(generator.output))
    compile_for(adversarial, script.LEARNING_RATE / 2, script.DECAY / 2)

    g, d = values_of(generator), values_of(discriminator)
    check_moves("generator.predict()", draw_fakes, kept=[g, d])
    fakes = draw_fakes()
    check_moves(
        "discriminator.train_on_batch()", lambda: train_discriminator(fakes), moved=[d], kept=[g]
    )
    check_moves("adversarial.train_on_batch()", train_generator, moved=[g], kept=[d])

    def train():
        for _ in range(args.steps):
            train_discriminator(draw_fakes())
            train_generator()

    work = step_multiply_adds(generator, discriminator) + forward_multiply_adds(generator)
    return {"gflop": gflop(work, args)}, lambda: {"": milliseconds(train, args.steps)}


def plain_torch(gan, precision, args):
    """A plain PyTorch loop with the DCGAN's networks, in each memory layout."""
    import torch

    torch.manual_seed(0)
    layouts = {
        "contiguous": torch.contiguous_format,
        "channels last": torch.channels_last,
    }
    loops = {name: torch_loop(gan, precision, args, layouts[name]) for name in layouts}
    facts = {
        "parameters": loops["contiguous"][0],
        "versions": {"torch": torch.__version__},
    }

    def play():
        return {name: milliseconds(train, args.steps) for name, (_, train) in loops.items()}

    return facts, play


def torch_loop(gan, precision, args, layout):
    """Returns ([parameters of the generator, of the discriminator], function that plays a round).

    Keras' "same" padding of 5 x 5 kernels in strides of 2 is (1, 2), here it is (2, 2). Sizes and
    work are the same, and the images are shifted by half a pixel.
    """
    import torch
    from torch import nn
    from torch.nn.functional import binary_cross_entropy

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = nn.Sequential(nn.Linear(100, 7 * 7 * 128), nn.Unflatten(1, (128, 7, 7)))
    channels = 128
    for filters, stride in ((128, 2), (64, 2), (32, 1), (1, 1)):
        generator += nn.Sequential(
            nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, filters, 5, stride, padding=2, output_padding=stride - 1),
        )
        channels = filters
    discriminator = nn.Sequential()
    for filters, stride in ((32, 2), (64, 2), (128, 2), (256, 1)):
        discriminator += nn.Sequential(
            nn.LeakyReLU(0.2), nn.Conv2d(channels, filters, 5, stride, padding=2)
        )
        channels = filters
    discriminator += nn.Sequential(nn.Flatten(), nn.Linear(4 * 4 * 256, 1))
    networks = (generator, discriminator)
    for network in networks:
        network.to(device, memory_format=layout)

    g_optimizer = torch.optim.RMSprop(generator.parameters(), lr=1e-4, alpha=0.9, eps=1e-7)
    d_optimizer = torch.optim.RMSprop(discriminator.parameters(), lr=2e-4, alpha=0.9, eps=1e-7)
    ones = torch.ones((args.batch_size, 1), device=device)
    real_then_fake = torch.cat([ones, torch.zeros_like(ones)])
    rng = np.random.default_rng(0)

    def run(network, x):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            x = network(x)
        return torch.sigmoid(x.float())

    def draw_fakes():
        return run(generator, torch.rand((args.batch_size, 100), device=device) * 2 - 1)

    def train_discriminator(fakes):
        (images,) = gan.batch(rng, args.batch_size)
        images = torch.from_numpy(images).to(device).reshape(fakes.shape)
        real = run(discriminator, torch.cat([images, fakes.detach()]))
        return learn(binary_cross_entropy(real, real_then_fake), d_optimizer)

    def train_generator(fakes):
        discriminator.requires_grad_(False)
        loss = learn(binary_cross_entropy(run(discriminator, fakes), ones), g_optimizer)
        discriminator.requires_grad_(True)
        return loss

    def learn(loss, optimizer):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def train():
        for _ in range(args.steps):
            fakes = draw_fakes()
            train_discriminator(fakes)
            train_generator(fakes)

    def values(network):
        return lambda: [tensor.cpu() for tensor in network.state_dict().values()]

    g, d = values(generator), values(discriminator)
    fakes = draw_fakes()
    check_moves("discriminator's update", lambda: train_discriminator(fakes), moved=[d], kept=[g])
    check_moves("generator's update", lambda: train_generator(fakes), moved=[g], kept=[d])
    return [sum(p.numel() for p in network.parameters()) for network in networks], train


CONTENDERS = {"ours": ours, "book": book, "torch": plain_torch}


def peak(args):
    """Large plain convolutions, forward: GFLOP/s for each shape and precision."""
    from keras import ops, random

    from lib.engine import devices

    calls = PEAK_CALLS * devices.steps_per_execution()

    def convolve(x, kernel):
        for _ in range(calls):
            x = ops.conv(x, kernel, strides=1, padding="same")
        return ops.cast(x[0, 0, 0, 0], "float32")  # NumPy refuses a scalar in bfloat16

    run = compiled(convolve)

    def speed(x, kernel, work):
        return 1000 * work / milliseconds(lambda: ops.convert_to_numpy(run(x, kernel)), 1)

    inputs = {}
    for shape in PEAK_INPUTS:
        channels = shape[-1]
        shape_of_kernel = (PEAK_KERNEL, PEAK_KERNEL, channels, channels)
        work = 2e-9 * calls * math.prod(shape) * PEAK_KERNEL**2 * channels
        for precision in args.precisions:
            x = ops.cast(random.normal(shape), precision)
            kernel = random.normal(shape_of_kernel, stddev=(PEAK_KERNEL**2 * channels) ** -0.5)
            kernel = ops.cast(kernel, precision)
            inputs[f"{precision} {'x'.join(map(str, shape))}"] = (x, kernel, work)
            speed(x, kernel, work)
    return {}, lambda: {name: speed(*values) for name, values in inputs.items()}


def compiled(function):
    """The function, compiled by the backend."""
    if os.environ["KERAS_BACKEND"] == "torch":
        return function
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        return jax.jit(function)
    import tensorflow

    return tensorflow.function(function)


@functools.cache
def mnist():
    """Real images (n, 28, 28, 1) and labels (n,), at most IMAGES of them, read once.

    They are not noise, which a discriminator separates from fakes within a few steps.
    """
    (images, labels), _ = datasets.mnist()
    return images[:IMAGES].copy(), labels[:IMAGES]


@functools.cache
def cifar10():
    """Photographs (n, 32, 32, 3), at most IMAGES of them, read once."""
    (images, _), _ = datasets.cifar10()
    return images[:IMAGES].copy()


def gflop(multiply_adds, args):
    """GFLOP of a whole batch."""
    return 2e-9 * multiply_adds * args.batch_size


def values_of(network):
    """A function that returns the values of a Keras network's variables, averages included."""
    return lambda: [variable.numpy() for variable in network.variables]


def check_moves(what, call, moved=(), kept=()):
    """Calls a function, which must change all kernels of some networks and nothing of others.

    Args:
        what: name of the call.
        call: the function to call.
        moved, kept: functions that return arrays, one function for each network.

    Raises:
        RuntimeError: if a kernel of `moved` did not change, or a value of `kept` did.
    """

    def copies():
        return [[np.array(array) for array in values()] for values in (*moved, *kept)]

    before = copies()
    call()
    for i, (old, new) in enumerate(zip(before, copies(), strict=True)):
        same = [np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
        if i >= len(moved) and not all(same):
            raise RuntimeError(f"{what} changes weights that it should not")
        if i < len(moved) and any(s for s, a in zip(same, old, strict=True) if a.ndim > 1):
            raise RuntimeError(f"{what} does not change weights that it should")


def best_peaks(contender):
    """{precision: GFLOP/s}, the best shape's median."""
    peaks = {}
    for variant, values in contender.values.items():
        precision = variant.split()[0]
        peaks[precision] = max(peaks.get(precision, 0.0), statistics.median(values))
    return peaks


def summary(contender, gflop, peaks):
    """The numbers of a contender, in the fastest of its variants."""
    _, kind, precision = contender.name.split()
    variant, values = contender.fastest()
    numbers = {
        **rounds.times(values, 2),
        "gflop_per_step": round(gflop, 3),
        "share_of_peak": round(1000 * gflop / statistics.median(values) / peaks[precision], 4),
    }
    if variant:
        numbers["layout"] = variant
        numbers["median_ms_by_layout"] = {
            name: round(statistics.median(v), 2) for name, v in contender.values.items()
        }
    if kind == "ours":
        numbers["peak_rss_mb"] = contender.peak_rss_mb
    return numbers


def ready(args):
    """Returns (facts, play) of the contender, for `rounds.contend`."""
    if args.contender == "peak":
        return peak(args)
    name, kind, precision = args.contender.split()
    return CONTENDERS[kind](GANS[name], precision, args)


def main(args):
    if args.contender:
        rounds.contend(lambda: ready(args))
        return
    rounds.check_output(args.output)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    names = [
        f"{gan} {who}"
        for gan in args.gans
        for who in GANS[gan].contenders
        if who.split()[1] in args.precisions and (backend == "tensorflow" or "book" not in who)
    ]
    flags = {
        "--steps": args.steps,
        "--batch-size": args.batch_size,
        "--precisions": ",".join(args.precisions),
    }
    contenders = rounds.play(__file__, [*names, "peak"], flags, args.rounds, backend)
    peaks = best_peaks(contenders.pop("peak"))
    table = {}
    for name, contender in contenders.items():
        reference = contenders[f"{name.split()[0]} ours float32"].facts
        if contender.facts.get("parameters", reference["parameters"]) != reference["parameters"]:
            raise UserError(
                f"'{name}' has other networks: {contender.facts['parameters']} parameters, "
                f"expected {reference['parameters']}"
            )
        table[name] = summary(contender, contender.facts.get("gflop", reference["gflop"]), peaks)
    show(table, peaks, contenders[f"{args.gans[0]} ours float32"].facts["device"], args)
    rounds.record(
        args,
        contenders,
        batch_size=args.batch_size,
        gflop_per_step={
            gan: round(contenders[f"{gan} ours float32"].facts["gflop"], 3) for gan in args.gans
        },
        peak_gflop_per_s={precision: round(peak, 1) for precision, peak in peaks.items()},
        contenders=table,
    )


def show(table, peaks, device, args):
    """Prints the numbers of all contenders."""
    print(f"\n{device}, batch size {args.batch_size}, {args.rounds} rounds of {args.steps} steps")
    print("peak: " + ", ".join(f"{p} {speed:.0f} GFLOP/s" for p, speed in peaks.items()))
    print(f"\n{'ms per step':24}{'median':>9}{'min':>9}{'max':>9}{'GFLOP':>9}{'of peak':>9}")
    for name, row in table.items():
        times = "".join(f"{row[key]:9.1f}" for key in ("median_ms", "min_ms", "max_ms"))
        notes = row.get("layout", "")
        if "peak_rss_mb" in row:
            notes = f"{row['peak_rss_mb']} MB at most"
        print(f"{name:24}{times}{row['gflop_per_step']:9.1f}{row['share_of_peak']:9.0%}  {notes}")


if __name__ == "__main__":
    program.run(main, parse_args())

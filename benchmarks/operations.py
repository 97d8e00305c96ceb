"""Where the time of a training step goes, by kind of operation, here and in plain PyTorch.

    python3 benchmarks/operations.py                          ResNet20, on one core and on two
    python3 benchmarks/operations.py --networks resnet_one_cycle --cores 2 --output FILE.json
    python3 benchmarks/operations.py --networks dcgan         a step of the DCGAN

Each contender is a network of epochs.py, or a GAN of gan_step.py, in one framework on some cores.
The profiler of the framework records its operations. A number is milliseconds per step, summed over
the operations of a kind. "not in an operation" is the rest of the step: the scheduler, Python, and
waiting. An operation counts from its start to its end, on any number of cores. TensorFlow may run
two operations at once; the sum is then longer than the step. The profilers cost time: take the
shares from here and the speed from epochs.py or gan_step.py. Run it on an idle machine.
"""

import collections
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import epochs, gan_step, rounds
from lib.files.errors import UserError
from lib.run import flags, program
from tools.scripts import load_script

ROUNDS = 5
STEPS = 20
# Kind of an operation: parts of the names that TensorFlow and PyTorch give it, in lower case. The
# first kind that fits is taken.
KINDS = {
    "optimizer": ("adam/", "sgd/", "rmsprop/", "optimizer", "_foreach", "fused_adam", "addcdiv"),
    "convolution, backward": ("conv2dbackprop", "convolution_backward"),
    "convolution, forward": ("conv2d", "mkldnn_convolution", "::_convolution"),
    "normalization, backward": ("batchnormgrad", "batch_norm_backward"),
    "normalization, forward": ("fusedbatchnorm", "batch_norm", "moving_mean", "moving_variance"),
    "dense, pooling, loss": ("matmul", "pool", "softmax", "mm", "cross_entropy", "nll_loss"),
    "all else": ("",),
}
REST = "not in an operation"


def kind_of(name):
    """The kind of the operation of that name."""
    name = name.lower()
    return next(kind for kind, parts in KINDS.items() if any(part in name for part in parts))


def parse_args():
    parser = rounds.parser(__doc__, ROUNDS, STEPS)
    parser.add_argument(
        "--networks",
        type=rounds.names_out_of({**epochs.NETWORKS, **gan_step.GANS}),
        default=["resnet"],
        help="of epochs.py or gan_step.py (default resnet)",
    )
    parser.add_argument(
        "--cores",
        type=flags.reader(
            lambda text: [int(part) for part in text.split(",")],
            lambda counts: min(counts) >= 1,
            "numbers such as 1,2",
        ),
        default=[1, 2],
        help="numbers of cores (default 1,2)",
    )
    return parser.parse_args()


def summed(operations, steps):
    """{kind: milliseconds per step} of (name, milliseconds) pairs recorded over some steps."""
    found = dict.fromkeys(KINDS, 0.0)
    for name, milliseconds in operations:
        found[kind_of(name)] += milliseconds / steps
    return found


def with_rest(found, wall):
    """`found` with the rest of a step, which takes `wall` milliseconds."""
    return {**found, REST: max(0.0, wall - sum(found.values())), "step": wall}


def ours(name, args):
    """Function that plays a round of the script's network under TensorFlow's profiler."""
    import keras
    import tensorflow as tf

    from lib.engine import backends

    keras.utils.set_random_seed(0)
    backends.speed_up_batch_normalization()
    if name in gan_step.GANS:
        gan = gan_step.GANS[name]
        model = gan.build(load_script(gan.script))
        x = gan.joined(np.random.default_rng(0), gan_step.BATCH_SIZE, args.steps)
        data = backends.feed({"x": x}, len(x[0]) // args.steps)
    else:
        network = epochs.NETWORKS[name]
        model = network.build(load_script(network.script), False)
        x, y = network.arrays(*epochs.examples(network, args.steps))
        data = backends.feed({"x": x, "y": y}, network.batch_size)
    model.fit(**data, verbose=0)

    def play():
        with tempfile.TemporaryDirectory() as folder:
            with tf.profiler.experimental.Profile(folder):
                started = time.perf_counter()
                model.fit(**data, verbose=0)
                wall = 1000 * (time.perf_counter() - started) / args.steps
            operations = tensorflow_operations(Path(folder))
        return with_rest(summed(operations, args.steps), wall)

    return play


def tensorflow_operations(folder):
    """(name, milliseconds) of every operation that TensorFlow's profiler wrote to `folder`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = folder.glob("**/*.xplane.pb")
    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    found = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                # The operations of the compiled step; what runs them has other names.
                if name.startswith("StatefulPartitionedCall/"):
                    found[name] += event.duration_ps / 1e9
    return found.items()


def plain_torch(name, args):
    """Function that plays a round of the PyTorch network under PyTorch's profiler."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    if name in gan_step.GANS:
        args.batch_size = gan_step.BATCH_SIZE
        _, train = gan_step.torch_loop(
            gan_step.GANS[name], "float32", args, torch.contiguous_format
        )
    else:
        network = epochs.NETWORKS[name]
        layout = torch.channels_last if len(network.shape) == 3 else torch.contiguous_format
        _, train = epochs.torch_loop(network, args, layout)
    train()

    def play():
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as profiler:
            started = time.perf_counter()
            train()
            wall = 1000 * (time.perf_counter() - started) / args.steps
        operations = [
            (event.key, event.self_cpu_time_total / 1000) for event in profiler.key_averages()
        ]
        return with_rest(summed(operations, args.steps), wall)

    return play


def ready(args):
    """Returns (facts, play) of the contender, for `rounds.contend`."""
    name, framework, cores = args.contender.split()
    # Before a framework counts them for its pool of threads.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    play = {"ours": ours, "torch": plain_torch}[framework](name, args)
    return rounds.facts(sys.modules["tensorflow" if framework == "ours" else "torch"]), play


def main(args):
    if args.contender:
        rounds.contend(lambda: ready(args))
        return
    rounds.check_output(args.output)
    available = len(os.sched_getaffinity(0))
    if max(args.cores) > available:
        raise UserError(f"--cores: expected at most {available}, found {max(args.cores)}")
    names = [
        f"{name} {framework} {cores}"
        for name in args.networks
        for cores in args.cores
        for framework in ("ours", "torch")
        # PyTorch has a loop for each classifier and for one GAN.
        if framework == "ours" or name in epochs.NETWORKS or name == "dcgan"
    ]
    contenders = rounds.play(__file__, names, {"--steps": args.steps}, args.rounds)
    table = {
        name: {kind: round(statistics.median(ms), 3) for kind, ms in contender.values.items()}
        for name, contender in contenders.items()
    }
    print(f"\nms per step, medians of {args.rounds} rounds of {args.steps} steps")
    print(f"{'':26}" + "".join(f"{name:>24}" for name in table))
    for kind in (*KINDS, REST, "step"):
        print(f"{kind:26}" + "".join(f"{row[kind]:24.2f}" for row in table.values()))
    rounds.record(args, contenders, contenders=table)


if __name__ == "__main__":
    program.run(main, parse_args())

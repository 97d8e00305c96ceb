"""Training steps per second on 1, 2 and more devices, and the share of communication.

    python3 benchmarks/devices.py                              # 1, 2, 4, ... up to all GPUs
    python3 benchmarks/devices.py --devices 1,2 --networks dcgan --output FILE.json
    KERAS_BACKEND=jax python3 benchmarks/devices.py            # the same with JAX

On N devices, each network of epochs.py or gan_step.py is measured with two batch sizes:

    strong   the batch of one device, divided by N: the same work, done sooner
    weak     N times that batch: N times the work in, at best, the same time

A third process takes a batch of one Nth on one device: what each device computes in the strong
form. The rest of the strong form's time is communication, waiting and the start of the step.

Without GPUs the processor is divided. The speeds then only show that the program works.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import epochs, gan_step, rounds
from benchmarks.rounds import milliseconds
from lib.files.errors import UserError
from lib.run import kinds, program
from tools.scripts import load_script

ROUNDS = 5
STEPS = 20
CLASSIFIERS = ("mlp", "resnet", "densenet")
NETWORKS = (*CLASSIFIERS, *gan_step.GANS)
FORMS = ("strong", "weak", "share")


def parse_args():
    parser = rounds.parser(__doc__, ROUNDS, STEPS)
    parser.add_argument(
        "--networks",
        type=rounds.names_out_of(NETWORKS),
        default=["mlp", "resnet", "dcgan", "wgan"],
        help="of epochs.py and gan_step.py (default mlp,resnet,dcgan,wgan)",
    )
    parser.add_argument(
        "--devices",
        type=kinds.reader(
            lambda text: sorted({int(part) for part in text.split(",")}),
            lambda counts: counts[0] == 1,
            "numbers of devices that begin with 1, separated by commas",
        ),
        help="(default: 1, 2, 4, ... up to all GPUs; 1,2 without GPUs)",
    )
    return parser.parse_args()


def contender(name, args):
    """Returns (facts, play) of the contender "NETWORK DEVICES FORM", for `rounds.contend`."""
    import keras

    from lib.engine import backends
    from lib.engine.devices import use_devices

    network, devices, form = name.split()
    devices = int(devices)
    if devices > 1 and form != "share":
        use_devices(devices)
    backends.speed_up_batch_normalization()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    if network in gan_step.GANS:
        gan = gan_step.GANS[network]
        base = gan_step.BATCH_SIZE
        size = batch_of(base, devices, form)
        model = gan.build(load_script(gan.script))
        arrays = {"x": gan.joined(rng, size, args.steps)}
    else:
        chosen = epochs.NETWORKS[network]
        base = chosen.batch_size
        size = batch_of(base, devices, form)
        model = chosen.build(load_script(chosen.script), True)
        images = rng.random((args.steps * size, *chosen.shape), dtype="float32")
        x, y = chosen.arrays(images, rng.integers(0, 10, len(images)))
        arrays = {"x": x, "y": y}
    rows = len(keras.tree.flatten(arrays)[0]) // args.steps
    parts = getattr(model, "parts", 1)

    def train():
        model.fit(**backends.feed(arrays, rows, parts), verbose=0)

    train()
    facts = {
        "batch_size": base,
        **rounds.facts(keras, sys.modules[keras.backend.backend()]),
    }
    return facts, lambda: {"": milliseconds(train, args.steps)}


def batch_of(base, devices, form):
    """The global batch size of a form, from that of one device."""
    if base % devices:
        raise UserError(f"{devices} devices: expected a divisor of the batch size {base}")
    return {"strong": base, "weak": base * devices, "share": base // devices}[form]


def summarize(medians, batch_size, counts):
    """The table of one network.

    Args:
        medians: {(devices, form): median milliseconds per step}.
        batch_size: of one device.
        counts: the numbers of devices.
    """
    alone = medians[1, "strong"]
    table = {}
    for devices in counts:
        strong = medians[devices, "strong"]
        row = {"steps_per_second": round(1000 / strong, 2)}
        if devices > 1:
            row |= {
                "strong_speedup": round(alone / strong, 3),
                "weak_efficiency": round(alone / medians[devices, "weak"], 3),
                "communication_share": round(1 - medians[devices, "share"] / strong, 3),
            }
        table[str(devices)] = row
    return {"batch_size": batch_size, "devices": table}


def available_devices():
    """1, 2, 4, ... up to the number of GPUs, or 1 and 2 without GPUs.

    A separate process counts them, because JAX reserves their memory.
    """
    code = "import keras; print(len(keras.distribution.list_devices('gpu')))"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    gpus = int(done.stdout) if done.returncode == 0 else 0
    return [1, 2] if gpus < 2 else [2**i for i in range(gpus.bit_length()) if 2**i <= gpus]


def main(args):
    if args.contender:
        rounds.contend(lambda: contender(args.contender, args))
        return
    rounds.check_output(args.output)
    counts = args.devices or available_devices()
    networks = {}
    for network in args.networks:
        names = [f"{network} 1 strong"]
        names += [f"{network} {n} {form}" for n in counts if n > 1 for form in FORMS]
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        contenders = rounds.play(
            __file__, names, {"--steps": args.steps}, args.rounds, backend=backend
        )
        medians = {}
        for name, player in contenders.items():
            _, devices, form = name.split()
            medians[int(devices), form] = statistics.median(player.values[""])
        batch_size = contenders[names[0]].facts["batch_size"]
        networks[network] = summarize(medians, batch_size, counts)
        show(network, networks[network])
    rounds.record(args, contenders, networks=networks)


def show(network, summary):
    """Prints the table of a network."""
    print(f"\n{network}, batches of {summary['batch_size']} per device")
    for devices, row in summary["devices"].items():
        text = "  ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in row.items())
        print(f"{devices:>3}: {text}")


if __name__ == "__main__":
    program.run(main, parse_args())

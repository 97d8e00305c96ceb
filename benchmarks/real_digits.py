"""The measures of chapters 4 to 6 for real digits instead of generated ones.

    python3 benchmarks/real_digits.py                     three subsets, a few minutes
    python3 benchmarks/real_digits.py --output FILE.json

No generator can be expected to do better. Each subset has 10,000 training images, without
repetition, and is measured against the test images, as the samples of a generator are. The
distances are not 0: training and test images were written by different people, and the FID of
finite samples is too large. The FID of two subsets shows the second effect alone.
"""

import itertools
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.run import flags, program

SEED = 1
SUBSETS = 3
SAMPLES = 10_000  # of each, fewer if there are fewer images


def parse_args():
    parser = flags.Parser(__doc__, keras=True)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the numbers there")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()

import numpy as np

from lib.data import datasets
from lib.files import records
from lib.measure import digit_quality


def subsets(images):
    """SUBSETS arrays of random images, without repetition."""
    order = np.random.default_rng(SEED).permutation(len(images))
    samples = min(SAMPLES, len(images) // SUBSETS)
    return [images[order[k * samples : (k + 1) * samples]] for k in range(SUBSETS)]


def between(parts):
    """The mean FID of each pair of arrays of images."""
    features = [digit_quality.judge_outputs(part)[0] for part in parts]
    pairs = itertools.combinations(features, 2)
    return statistics.mean(digit_quality.frechet_distance(*pair) for pair in pairs)


def main(args):
    (images, _), _ = datasets.mnist()
    parts = subsets(images)
    found = {}
    for k, part in enumerate(parts):
        found[k] = digit_quality.judge_digits(part)
        print(f"subset {k}: {found[k]}", flush=True)
    fid = round(between(parts), 3)
    print(f"mean FID between two subsets: {fid}")
    if args.output:
        records.record(
            args.output, seed=SEED, samples=len(parts[0]), fid_between=fid, subsets=found
        )


if __name__ == "__main__":
    program.run(main, args)

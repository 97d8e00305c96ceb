"""The flags of the policy gradients. Nothing here may import Keras."""

import argparse

from lib.run.flags import Parser

METHODS = ("reinforce", "baseline", "actor_critic", "a2c", "random")


def parse(parser: Parser) -> argparse.Namespace:
    """Adds the flags of method and weights to a parser, and returns the parsed flags.

    Args:
        parser: from `flags.agents_parser`, with the further flags of the script.
    """
    methods = parser.add_mutually_exclusive_group()
    for letter, method in zip("bacr", METHODS[1:], strict=True):
        names = (f"-{letter}", f"--{method.replace('_', '-')}")
        methods.add_argument(*names, dest="method", action="store_const", const=method)
    for letter, network in zip("wye", ("actor", "value", "encoder"), strict=True):
        parser.add_argument(
            f"-{letter}",
            f"--{network}-weights",
            f"--{network}_weights",
            metavar="FILE",
            help=f"weights of the {network}",
        )
    parser.add_argument("-t", "--train", action="store_true", help="continue training the weights")
    parser.set_defaults(method=METHODS[0])

    def check(args):
        if args.actor_weights and not args.encoder_weights:
            parser.error("--actor-weights needs --encoder-weights, which it was trained with")
        if args.value_weights and args.method in ("reinforce", "random"):
            parser.error(f"--value-weights: the method {args.method} has no value network")
        if args.train and not args.actor_weights:
            parser.error("--train continues the training of --actor-weights, which is missing")

    return parser.parse_args(check=check)

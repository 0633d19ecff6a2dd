#!/usr/bin/env python3
"""Prepare a VibeVoice-ASR checkpoint for serving; see `--help`."""

import sys

from vibevoice_vllm.prepare import main

sys.exit(main())

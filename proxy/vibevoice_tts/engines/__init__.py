"""The speech models themselves. Only the modules in this folder import torch."""

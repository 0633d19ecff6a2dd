"""What the engine's plugin, the proxy, the speech worker and the batch client must agree on.

Constants come without dependencies; only `decode` needs PyAV and NumPy. Nothing here imports
another package of this project.
"""

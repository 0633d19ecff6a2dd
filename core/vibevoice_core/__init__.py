"""Definitions that the engine's plugin, the proxy, its workers, and the batch client share.

Constants have no dependencies; only `decode` needs PyAV and NumPy. Nothing here imports another
package of this project.
"""

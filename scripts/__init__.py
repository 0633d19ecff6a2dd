"""Scripts run by the Makefile."""

"""The H3 layer in NumPy, PyTorch and JAX, to be read beside chapter 7: complete ports, each judged against the suite."""

"""Complete ports in NumPy, PyTorch and JAX, each judged against the suite: the H3 layer (``numpy_layer``, ``torch_layer``,
``jax_layer``), to be read beside chapter 7, also over packed and padded documents; SSD and the Mamba-2 layer
(``numpy_mamba2``, ``torch_mamba2``, ``jax_mamba2``); the operators of the Hyena family (``operators``, one text for all three)."""

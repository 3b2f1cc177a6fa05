"""Does a model fit on a GPU? Shapes, GPUs, memory, and the nearest things that fit."""

"""Times of published kernels, each on the GPU and with the batch of its authors: what ours are set beside."""

from __future__ import annotations

REPLKNET_KERNELS = (3, 5, 7, 9, 13, 17, 21, 27, 29, 31)
_PYTORCH = {
    16: (5.6, 11.0, 14.4, 17.6, 36.0, 57.2, 83.4, 133.5, 150.7, 171.4),
    32: (21.9, 34.1, 54.8, 76.1, 141.2, 230.5, 342.3, 557.8, 638.6, 734.8),
    64: (69.6, 141.2, 228.6, 319.8, 600.0, 977.7, 1454.4, 2371.1, 2698.4, 3090.4),
}
_THEIRS = {
    16: (5.6, 6.5, 6.4, 6.9, 7.5, 8.4, 8.4, 8.4, 8.3, 8.4),
    32: (21.9, 28.7, 34.6, 40.6, 52.5, 64.5, 73.9, 87.9, 92.7, 96.7),
    64: (69.6, 112.6, 130.7, 152.6, 199.7, 251.5, 301.0, 378.2, 406.0, 431.7),
}
REPLKNET = {
    (side, kernel): (theirs, pytorch)
    for side in _THEIRS
    for kernel, theirs, pytorch in zip(REPLKNET_KERNELS, _THEIRS[side], _PYTORCH[side], strict=True)
}
"""Side of the map and of the kernel -> ms of their depthwise convolution and of PyTorch's (RepLKNet, arXiv:2203.06717,
table 1)."""

DCN_V4 = {(56, 128): 0.606, (28, 256): 0.303, (14, 512): 0.145, (7, 1024): 0.0730}
"""Side and channels of the map -> ms of DCNv4, the first of the two figures that the table has for each
(arXiv:2401.06197)."""

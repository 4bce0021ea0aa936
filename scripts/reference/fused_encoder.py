"""Write the PyTorch fixtures of the operations of encoders in the crate `fused`, in the form of fused.py.

    python scripts/reference/fused_encoder.py
"""

import json

import torch.nn.functional as F

from fused import OUT, some, wave


def erf_gelu(x, n, d):
    return F.gelu(x.view(n, d))


def bidirectional_attention(x, b, t, h, hd):
    q, k, v = x.view(b, t, 3, h, hd).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, h * hd)


CASES = [
    (erf_gelu, (1, 17), 1.0),
    (erf_gelu, (9, 40), 6.0),
    (bidirectional_attention, (2, 1, 2, 5), 1.0),
    (bidirectional_attention, (2, 17, 3, 7), 1.0),
    (bidirectional_attention, (1, 65, 2, 16), 2.0),
]


def fixture(op, dims, amplitude):
    length = dims[0] * dims[1] * (3 * dims[2] * dims[3] if len(dims) == 4 else 1)
    x = wave(length, amplitude, 0).requires_grad_()
    output = op(x, *dims).flatten()
    (output * wave(len(output), 1.0, 0.5)).sum().backward()
    gradients = [some(x.grad)]
    return {"op": op.__name__, "dims": dims, "amplitude": amplitude, "output": some(output), "gradients": gradients}


if __name__ == "__main__":
    (OUT.parent / "encoder.json").write_text(json.dumps([fixture(*case) for case in CASES]) + "\n")

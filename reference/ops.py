"""Single operations: inputs, outputs and input gradients. Writes goldens/ops.

Every tensor is named `<case>.<tensor>`. `config.json` gives each case's constants. inputs hold
the operands and, as `<case>.upstream`, the gradient that arrives at the output; gradients hold
the gradient of every float operand. The operands are the weights: there is no weights file.
"""

import torch
from golden import integers, normal, write
from torch.nn.functional import conv2d, cross_entropy, gelu, layer_norm, rms_norm, silu

CONFIG, INPUTS, OUTPUTS, GRADIENTS = {}, {}, {}, {}


def case(name, operation, operands, **constants):
    """Records one operation. Integer operands get no gradient."""
    operands = {
        key: value.requires_grad_() if value.is_floating_point() else value
        for key, value in operands.items()
    }
    output = operation(**operands)
    upstream = normal(f"ops.{name}.upstream", *output.shape)
    output.backward(upstream)
    CONFIG[name] = constants
    OUTPUTS[f"{name}.output"] = output
    INPUTS[f"{name}.upstream"] = upstream
    for key, value in operands.items():
        INPUTS[f"{name}.{key}"] = value
        if value.is_floating_point():
            GRADIENTS[f"{name}.{key}"] = value.grad


def x(name, *shape, std=1.0):
    return normal(f"ops.{name}", *shape, std=std)


def norms():
    # A mean far from zero: variance by E[x²] - E[x]² would lose its digits here.
    rows = x("layer_norm.x", 2, 5, 24) * 2 + 3
    weight, bias = 1 + x("norm.weight", 24, std=0.3), x("norm.bias", 24, std=0.3)
    case("layer_norm", lambda x, weight, bias: layer_norm(x, (24,), weight, bias, 1e-5),
         {"x": rows, "weight": weight, "bias": bias}, eps=1e-5)
    case("rms_norm", lambda x, weight: rms_norm(x, (24,), weight, 1e-6),
         {"x": x("rms_norm.x", 3, 7, 24), "weight": 1 + x("rms.weight", 24, std=0.3)}, eps=1e-6)


def activations():
    # From far left to far right, zero and tiny values among them.
    edges = torch.tensor([-30.0, -8.0, -5.0, -1.0, -1e-4, 0.0, 1e-4, 0.5, 1.0, 5.0, 8.0, 30.0])
    values = torch.cat([edges, x("activation", 60, std=2.0)]).reshape(6, 12)
    case("gelu_erf", lambda x: gelu(x), {"x": values.clone()})
    case("gelu_tanh", lambda x: gelu(x, approximate="tanh"), {"x": values.clone()})
    case("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x), {"x": values.clone()})
    case("swiglu", lambda gate, up: silu(gate) * up,
         {"gate": values.clone(), "up": x("swiglu.up", 6, 12)})


def rotate(x, theta, first):
    """RoPE, halves convention: pairs are (i, i + K/2). Positions first, first + 1, ..."""
    width = x.shape[-1]
    rates = theta ** (-torch.arange(0, width, 2).float() / width)
    angles = torch.arange(first, first + x.shape[-2]).float()[:, None] * rates
    cos, sin = angles.cos(), angles.sin()
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def rotaries():
    for name, theta, first in (("rotary", 1e4, 0), ("rotary_offset", 1e5, 37)):
        case(name, lambda x: rotate(x, theta, first), {"x": x(f"{name}.x", 2, 3, 7, 8)},
             theta=theta, first_position=first)


def attend(q, k, v, seen):
    """Grouped-query attention: query head h reads key-value head h // (H / H_kv)."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v


def attention_case(name, queries, keys, seen, heads=4, kv_heads=2, **constants):
    """q [B, H, T, K], k and v [B, H_kv, S, K]; `seen` [T, S] is stored as 0 and 1."""
    operands = {"q": x(f"{name}.q", 2, heads, queries, 8), "k": x(f"{name}.k", 2, kv_heads, keys, 8),
                "v": x(f"{name}.v", 2, kv_heads, keys, 8)}
    case(name, lambda q, k, v: attend(q, k, v, seen), operands, heads=heads, kv_heads=kv_heads,
         **constants)
    INPUTS[f"{name}.seen"] = seen.long()


def attentions():
    causal = torch.ones(9, 9).tril().bool()
    prefix = causal | (torch.arange(9) < 4)[None, :]
    everything = torch.ones(9, 9).bool()
    attention_case("attention_full", 9, 9, everything, mask="full")
    attention_case("attention_causal", 9, 9, causal, mask="causal")
    attention_case("attention_mha", 9, 9, causal, kv_heads=4, mask="causal")
    # The last 3 of 9 positions against all keys: a step with a cache.
    attention_case("attention_cached", 3, 9, causal[6:], mask="causal")
    # The first 4 positions are seen by all; the rest is causal.
    attention_case("attention_prefix", 9, 9, prefix, mask="prefix", prefix=4)
    attention_case("attention_cross", 5, 11, torch.ones(5, 11).bool(), mask="full")


def cross_entropies():
    def loss(logits, targets, z=0.0, smoothing=0.0):
        kept = targets != -100
        mean = cross_entropy(logits, targets, ignore_index=-100, label_smoothing=smoothing)
        # z-loss (PaLM, arXiv 2204.02311): z times the mean square of log Z over the same rows.
        return (mean + z * logits.logsumexp(-1)[kept].square().mean()).reshape(1)

    targets = integers("ops.targets", 0, 11, 8)
    ignored = targets.clone()
    ignored[[1, 4, 7]] = -100
    logits = x("cross_entropy.logits", 8, 11, std=3.0)
    for name, labels, constants in (
        ("cross_entropy", targets, {}),
        ("cross_entropy_ignore", ignored, {}),
        ("cross_entropy_z", ignored, {"z": 1e-4}),
        ("cross_entropy_smooth", ignored, {"smoothing": 0.1}),
    ):
        case(name, lambda logits, targets: loss(logits, targets, **constants),
             {"logits": logits.clone(), "targets": labels}, **constants)


def convolutions():
    for name, size, stride, padding in (("conv2d_stride2", 9, 2, 1), ("conv2d_stride3", 12, 3, 0),
                                        ("conv2d_stride1", 7, 1, 1)):
        case(name, lambda x, weight, bias: conv2d(x, weight, bias, stride, padding),
             {"x": x(f"{name}.x", 2, 3, size, size), "weight": x(f"{name}.weight", 5, 3, 3, 3, std=0.3),
              "bias": x(f"{name}.bias", 5, std=0.3)}, stride=stride, padding=padding)


def main():
    for part in (norms, activations, rotaries, attentions, cross_entropies, convolutions):
        part()
    write("ops", config=CONFIG, inputs=INPUTS, outputs=OUTPUTS, gradients=GRADIENTS)


if __name__ == "__main__":
    main()

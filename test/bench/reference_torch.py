#!/usr/bin/env python3
"""LR-QAT in PyTorch, as a yardstick: tokens/s and peak memory of full training steps at the LLaMA-2-7B shape.

    python3 test/bench/reference_torch.py                          # all default variants, micro-batches 1, 4, 8
    python3 test/bench/reference_torch.py --variants compiled,low-rank --micro-batches 4
    python3 test/bench/reference_torch.py --check                  # gradients of the variants against each other, tiny

Random weights; W4 per-channel symmetric, rank 32, sequence 1024, AdamW, global norm clipped at 1, one micro-batch a step.
The formulas are those of docs/method.md: W = s * clip(round(phi0 + gamma * A @ B)), written anew here. Variants:

    official          as the published recipe runs: eager, A, B and s in bf16, attention with explicit score matrices, the
                      weight of every linear recomputed in its backward, codes checked on every use, and embedding, norms
                      and head that collect gradients nobody uses
    official-block    the same with a checkpoint around every decoder block instead of around every linear
    compiled          the same operations on float32 A, B and s: torch.compile, fused attention, fused AdamW
    compiled-block    and a checkpoint around every block
    low-rank          compiled; gradients of A and B from four thin products instead of a dense weight gradient, which
                      is wrong as soon as weights are clipped
    packed-block      compiled; low-rank gradients of 4-bit integers, two in a byte, and a checkpoint around every block
    lora              compiled; bf16 weights with LoRA and no quantization at all

Peak is what the allocator of PyTorch handed out at most, without its reserve and without the CUDA context.
"""

import argparse
import functools
import gc
import math
import statistics
import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

BITS = 4
QMIN, QMAX = -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1
FRACTION_BITS = 8 - BITS


@dataclass(frozen=True)
class Shape:
    """LLaMA-2-7B unless told otherwise."""

    vocab: int = 32000
    hidden: int = 4096
    intermediate: int = 11008
    heads: int = 32
    layers: int = 32
    length: int = 1024
    rank: int = 32
    epsilon: float = 1e-5

    @property
    def head_dim(self):
        return self.hidden // self.heads

    @property
    def gamma(self):
        return 1 / self.rank


@dataclass(frozen=True)
class Variant:
    linear: str  # 'weight-checkpoint', 'exact', 'low-rank', 'packed', 'lora'
    compiled: bool = True
    block_checkpoint: bool = False
    official: bool = False  # bf16 trained numbers, explicit attention, checked codes, idle gradients


VARIANTS = {
    'official': Variant('weight-checkpoint', compiled=False, official=True),
    'official-block': Variant('exact', compiled=False, block_checkpoint=True, official=True),
    'compiled': Variant('exact'),
    'compiled-block': Variant('exact', block_checkpoint=True),
    'low-rank': Variant('low-rank'),
    'packed-block': Variant('packed', block_checkpoint=True),
    'lora': Variant('lora'),
}
DEFAULT_VARIANTS = ['official', 'official-block', 'compiled', 'compiled-block', 'low-rank']


# -- one linear ------------------------------------------------------------------------------------------------------


def round_through(z):
    """round (half to even) with the gradient of the identity."""
    return z + (z.round() - z).detach()


def decode(code):
    """phi0 [m, n] of fixed-point codes (int8, FRACTION_BITS behind the point); exact in bf16."""
    return code.to(torch.bfloat16) / 2**FRACTION_BITS


def unpack(packed):
    """phi0 [m, n] of offset 4-bit integers, two in a byte."""
    low = (packed & 15).to(torch.int8) - 8
    high = (packed >> 4).to(torch.int8) - 8
    return torch.stack((low, high), dim=-1).flatten(-2).to(torch.bfloat16)


def quantized_weight(phi0, a, b, scale, gamma):
    """W [m, n] bf16 from a [m, r], b [r, n], scale [m, 1]; differentiable in all three."""
    z = phi0 + gamma * (a.to(torch.bfloat16) @ b.to(torch.bfloat16))
    return scale.to(torch.bfloat16) * round_through(z).clamp(QMIN, QMAX)


class LowRankLinear(torch.autograd.Function):
    """y = x W^T, whose backward treats no weight as clipped: dA = gamma (dY s)^T (X B^T), dB = gamma ((dY s) A)^T X,
    ds = sum over tokens of dY * Y / s. Keeps x, y and the codes; W is made again in the backward."""

    @staticmethod
    def forward(ctx, x, code, a, b, scale, gamma, is_packed):
        phi0 = unpack(code) if is_packed else decode(code)
        y = x @ quantized_weight(phi0, a, b, scale, gamma).t()
        ctx.save_for_backward(x, y, code, a, b, scale)
        ctx.gamma = gamma
        ctx.is_packed = is_packed
        return y

    @staticmethod
    def backward(ctx, dy):
        x, y, code, a, b, scale = ctx.saved_tensors
        phi0 = unpack(code) if ctx.is_packed else decode(code)
        weight = quantized_weight(phi0, a, b, scale, ctx.gamma)
        scaled = dy * scale.t().to(dy.dtype)
        u = x @ b.to(x.dtype).t()
        v = scaled @ a.to(x.dtype)
        da = ctx.gamma * (scaled.t() @ u).to(a.dtype)
        db = ctx.gamma * (v.t() @ x).to(b.dtype)
        ds = (dy.float() * y.float()).sum(0)[:, None] / scale.float()
        return dy @ weight, None, da, db, ds.to(scale.dtype), None, None


def apply_linear(kind, official, gamma, x, parameters):
    """x [T, n] -> [T, m]; parameters: (code, a, b, scale), or (weight, a, b) for LoRA."""
    if kind == 'lora':
        weight, a, b = parameters
        return x @ weight.t() + gamma * ((x @ b.to(x.dtype).t()) @ a.to(x.dtype).t())
    code, a, b, scale = parameters
    if kind in ('low-rank', 'packed'):
        return LowRankLinear.apply(x, code, a, b, scale, gamma, kind == 'packed')

    def product(x, code, a, b, scale):
        if official:
            # The published code looks at all codes of a weight, on the host, on every use.
            assert code.min() >= QMIN * 2**FRACTION_BITS and code.max() <= QMAX * 2**FRACTION_BITS
        return x @ quantized_weight(decode(code), a, b, scale, gamma).t()

    if kind == 'weight-checkpoint':
        return checkpoint(product, x, code, a, b, scale, use_reentrant=False)
    return product(x, code, a, b, scale)


# -- the decoder -----------------------------------------------------------------------------------------------------


def rms_norm(x, weight, epsilon):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype) * weight


def rotate(x, cosine, sine):
    """x [batch, heads, length, head_dim]; pairs (i, i + head_dim / 2)."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def attention(official, q, k, v):
    if not official:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    length = q.shape[-2]
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    hidden = torch.full((length, length), torch.finfo(q.dtype).min, dtype=q.dtype, device=q.device).triu(1)
    return torch.softmax(scores + hidden, dim=-1, dtype=torch.float32).to(q.dtype) @ v


def block(kind, official, shape, x, cosine, sine, norm1, norm2, q, k, v, o, gate, up, down):
    """x [T, hidden] -> [T, hidden]; q ... down: parameters of a linear."""
    linear = lambda inputs, parameters: apply_linear(kind, official, shape.gamma, inputs, parameters)
    split = lambda t: t.view(-1, shape.length, shape.heads, shape.head_dim).transpose(1, 2)
    normed = rms_norm(x, norm1, shape.epsilon)
    query = rotate(split(linear(normed, q)), cosine, sine)
    key = rotate(split(linear(normed, k)), cosine, sine)
    mixed = attention(official, query, key, split(linear(normed, v)))
    x = x + linear(mixed.transpose(1, 2).reshape(x.shape), o)
    normed = rms_norm(x, norm2, shape.epsilon)
    return x + linear(F.silu(linear(normed, gate)) * linear(normed, up), down)


def loss_of(shape, x, norm, head, targets):
    logits = rms_norm(x, norm, shape.epsilon) @ head.t()
    return F.cross_entropy(logits.float(), targets)


@functools.cache
def compiled_functions():
    """block and loss_of, compiled once for every kind of linear and micro-batch: all layers and variants share them."""
    for limit in ('recompile_limit', 'cache_size_limit'):
        if hasattr(torch._dynamo.config, limit):
            setattr(torch._dynamo.config, limit, 64)
    return torch.compile(block, dynamic=False, fullgraph=True), torch.compile(loss_of, dynamic=False, fullgraph=True)


class Model:
    def __init__(self, shape, variant, device, trained_type=None, seed=1):
        generator = torch.Generator(device=device).manual_seed(seed)
        normal = lambda *size: torch.randn(*size, generator=generator, device=device)
        frozen = lambda tensor: tensor.to(torch.bfloat16).requires_grad_(variant.official)
        self.shape = shape
        self.variant = variant
        self.trained_type = trained_type or (torch.bfloat16 if variant.official else torch.float32)
        self.embedding = frozen(normal(shape.vocab, shape.hidden) * 0.02)
        self.head = frozen(normal(shape.vocab, shape.hidden) * 0.02)
        self.norm = frozen(torch.ones(shape.hidden, device=device))
        self.trained = []
        d, f = shape.hidden, shape.intermediate
        sizes = [(d, d), (d, d), (d, d), (d, d), (f, d), (f, d), (d, f)]
        self.blocks = [
            (
                frozen(torch.ones(d, device=device)),
                frozen(torch.ones(d, device=device)),
                *(self.make_linear(normal, generator, m, n, device) for m, n in sizes),
            )
            for _ in range(shape.layers)
        ]
        position = torch.arange(shape.length, device=device).float()
        frequency = 10000 ** (-torch.arange(0, shape.head_dim, 2, device=device).float() / shape.head_dim)
        angle = (position[:, None] * frequency).repeat(1, 2)
        self.cosine = angle.cos().to(torch.bfloat16)
        self.sine = angle.sin().to(torch.bfloat16)
        self.block, self.loss_of = compiled_functions() if variant.compiled else (block, loss_of)

    def make_linear(self, normal, generator, m, n, device):
        shape, variant, kind = self.shape, self.variant, self.trained_type
        weight = normal(m, n) * 0.02
        a = torch.zeros(m, shape.rank, device=device, dtype=kind).requires_grad_()
        b = torch.empty(shape.rank, n, device=device).uniform_(-1, 1, generator=generator) / math.sqrt(n)
        b = b.to(kind).requires_grad_()
        self.trained += [a, b]
        if variant.linear == 'lora':
            return weight.to(torch.bfloat16), a, b
        scale = weight.abs().amax(1, keepdim=True) / QMAX
        phi0 = (weight / scale).clamp(QMIN, QMAX)
        if variant.linear == 'packed':
            offset = (phi0.round() - QMIN).to(torch.uint8)
            code = offset[:, 0::2] | offset[:, 1::2] << 4
        else:
            code = (phi0 * 2**FRACTION_BITS).round().to(torch.int8)
        scale = scale.to(kind).requires_grad_()
        self.trained.append(scale)
        return code, a, b, scale

    def loss(self, tokens, targets):
        """tokens, targets [batch, length]."""
        x = F.embedding(tokens.flatten(), self.embedding)
        for parameters in self.blocks:
            arguments = (self.variant.linear, self.variant.official, self.shape, x, self.cosine, self.sine, *parameters)
            if self.variant.block_checkpoint:
                x = checkpoint(self.block, *arguments, use_reentrant=False)
            else:
                x = self.block(*arguments)
        return self.loss_of(self.shape, x, self.norm, self.head, targets.flatten())


# -- measurement -----------------------------------------------------------------------------------------------------


def measure(model, optimizer, clipped, micro_batch, seconds, device):
    """Tokens/s (median step) and peak GiB of full steps."""
    shape = model.shape
    tokens = torch.randint(shape.vocab, (micro_batch, shape.length), device=device)
    targets = torch.randint(shape.vocab, (micro_batch, shape.length), device=device)

    def step():
        model.loss(tokens, targets).backward()
        torch.nn.utils.clip_grad_norm_(clipped, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(2):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    begin = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < seconds and len(times) < 20):
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return micro_batch * shape.length / statistics.median(times), torch.cuda.max_memory_allocated() / 2**30


def run(names, micro_batches, shape, seconds, device):
    properties = torch.cuda.get_device_properties(0)
    print(f'{properties.name}, torch {torch.__version__}, {shape.layers} layers of hidden size {shape.hidden}, '
          f'sequence {shape.length}, rank {shape.rank}', flush=True)
    for name in names:
        variant = VARIANTS[name]
        model = Model(shape, variant, device)
        optimizer = torch.optim.AdamW(
            model.trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=not variant.official)
        clipped = list(model.trained)
        if variant.official:
            # Never zeroed, never stepped, always in the norm.
            clipped += [model.embedding, model.head, model.norm]
            clipped += [norm for parameters in model.blocks for norm in parameters[:2]]
        for micro_batch in micro_batches:
            begin = time.perf_counter()
            try:
                speed, peak = measure(model, optimizer, clipped, micro_batch, seconds, device)
                result = f'{speed:8.0f} tokens/s {peak:7.2f} GiB'
            except torch.cuda.OutOfMemoryError:
                optimizer.zero_grad(set_to_none=True)
                result = 'out of memory'
            print(f'{name:16} micro-batch {micro_batch}: {result}   ({time.perf_counter() - begin:.0f} s)', flush=True)
            gc.collect()
            torch.cuda.empty_cache()
        del model, optimizer, clipped
        gc.collect()
        torch.cuda.empty_cache()


def check(device):
    """Where nothing is clipped, the gradients of all quantized variants agree within the noise of bf16."""
    shape = Shape(vocab=97, hidden=64, intermediate=160, heads=2, layers=2, length=32, rank=4)
    torch.manual_seed(0)
    tokens = torch.randint(shape.vocab, (2, shape.length), device=device)
    targets = torch.randint(shape.vocab, (2, shape.length), device=device)
    gradients = {}
    for name, variant in VARIANTS.items():
        if variant.linear in ('packed', 'lora'):
            continue
        compiled = variant.compiled and device != 'cpu'
        model = Model(shape, replace(variant, compiled=compiled), device, trained_type=torch.float32)
        generator = torch.Generator(device=device).manual_seed(2)
        for number, parameter in enumerate(model.trained):
            if number % 3 == 0:  # A, which starts at zero; |gamma A B| stays below 1/2, so nothing leaves the grid
                parameter.data.uniform_(-1, 1, generator=generator)
        model.loss(tokens, targets).backward()
        gradients[name] = [parameter.grad for parameter in model.trained]
    expected = gradients['compiled']
    tolerance = 0.05  # a dozen bf16 roundings in a row, of 2^-9 each; explicit attention has bf16 scores as well
    failed = False
    for name, actual in gradients.items():
        errors = []
        for group in range(3):  # all A, all B, all scales
            top = sum(float((x - y).pow(2).sum()) for x, y in zip(actual[group::3], expected[group::3]))
            errors.append(math.sqrt(top / sum(float(y.pow(2).sum()) for y in expected[group::3])))
        failed = failed or not max(errors) < tolerance
        print(f'{name:16} dA, dB, ds differ by {errors[0]:.4f}, {errors[1]:.4f}, {errors[2]:.4f} from the compiled exact '
              f'ones (allowed {tolerance})')
    if failed:
        raise SystemExit('the variants disagree')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--variants', default=','.join(DEFAULT_VARIANTS), help=f'of {", ".join(VARIANTS)}')
    parser.add_argument('--micro-batches', default='1,4,8')
    parser.add_argument('--layers', type=int, default=Shape.layers)
    parser.add_argument('--seconds', type=float, default=2.0, help='timed for each line, at least three steps')
    parser.add_argument('--check', action='store_true')
    arguments = parser.parse_args()
    names = arguments.variants.split(',')
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        parser.error(f'no variant {unknown[0]!r}; there are {", ".join(VARIANTS)}')
    if arguments.check:
        check('cuda' if torch.cuda.is_available() else 'cpu')
        return
    if not torch.cuda.is_available():
        raise SystemExit('skipped: no CUDA device')
    micro_batches = [int(number) for number in arguments.micro_batches.split(',')]
    run(names, micro_batches, replace(Shape(), layers=arguments.layers), arguments.seconds, 'cuda')


if __name__ == '__main__':
    main()

"""Our attention beside PyTorch's scaled_dot_product_attention: the same shapes on the same GPU in the same run.

python3 native/cuda/test/attention_torch.py PATH/TO/cuda_bench_attention

bf16, causal. PyTorch's default choice and each of its fused kernels by name (medians over CUDA events). The ratio is
our speed over that of PyTorch's default.
"""

import statistics
import subprocess
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention


REPEATS = 10  # calls between two events, so that neither side waits for its host


def median_milliseconds(body):
    for _ in range(3):
        body()
    torch.cuda.synchronize()
    times = []
    for _ in range(9):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(REPEATS):
            body()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / REPEATS)
    return statistics.median(times)


def measure(backend, batch, length, heads, kv_heads, head_dim):
    def tensor(h):
        values = torch.randn(batch, length, h, head_dim, device="cuda", dtype=torch.bfloat16)
        return values.transpose(1, 2).requires_grad_()

    q, k, v = tensor(heads), tensor(kv_heads), tensor(kv_heads)
    options = {"is_causal": True, "enable_gqa": kv_heads != heads}

    def timed():
        with torch.no_grad():
            forward = median_milliseconds(lambda: scaled_dot_product_attention(q, k, v, **options))
        out = scaled_dot_product_attention(q, k, v, **options)
        gradient = torch.randn_like(out)
        backward = median_milliseconds(lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True))
        return forward, backward

    try:
        if backend is None:
            return timed()
        with sdpa_kernel(backend):
            return timed()
    except RuntimeError:
        return None


def main():
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    ours = subprocess.run([sys.argv[1]], capture_output=True, text=True, check=True).stdout
    backends = {"default": None, "flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
    print(f"{'batch length heads headDim window':34} {'':8}" + "".join(f"{n:>10}" for n in ["ours", *backends]) + "     ratio")
    for line in ours.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        fields = line.split()
        batch, length, heads, kv_heads, head_dim, window = map(int, fields[:6])
        times = {}
        if window == 0:
            times = {n: measure(b, batch, length, heads, kv_heads, head_dim) for n, b in backends.items()}
        for index, name in enumerate(("forward", "backward")):
            own = float(fields[6 + index])
            row = f"{batch:5} {length:6} {heads:3}/{kv_heads:<3} {head_dim:6} {window:6}     {name:8}{own:10.4f}"
            for n in backends:
                row += f"{times[n][index]:10.4f}" if times.get(n) else f"{'-':>10}"
            if times.get("default"):
                row += f"{times['default'][index] / own:10.2f}"
            print(row + f"   {fields[8 + index]} TFLOP/s", flush=True)


if __name__ == "__main__":
    main()

"""A vocoder, in plain PyTorch with torch.stft and torch.istft: log-mel spectrograms to samples. Writes goldens/vocoder.

The embedded model's at a fraction of its size: a linear layer, ConvNeXt blocks over time (depthwise convolution,
LayerNorm, MLP with exact GELU), magnitudes and phases of an inverse STFT whose hop is a quarter of its window. The loss
compares samples in three resolutions (mean distance of logarithms of magnitudes, and spectral convergence) and in bands.

Siuzdak 2023 (Vocos), https://arxiv.org/abs/2306.00814, without its discriminators and its first convolution.
"""

import copy

import torch
from golden import capture, curve, gradients, normal, randomise, write
from torch import nn
from torch.nn.functional import gelu, pad

CONFIG = {
    "bands": 5,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "intermediate_size": 20,
    "kernel_size": 5,
    "n_fft": 32,
    "layer_norm_eps": 1e-5,
}
D, EPS, N_FFT = CONFIG["hidden_size"], CONFIG["layer_norm_eps"], CONFIG["n_fft"]
LEVEL, SPREAD, LOUDEST, FLOOR, LEAST = -5.0, 2.0, 6.0, 1e-5, 1e-10
B, FRAMES = 2, 8


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(D, CONFIG["intermediate_size"]), nn.Linear(CONFIG["intermediate_size"], D)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class ConvNext(nn.Module):
    def __init__(self):
        super().__init__()
        kernel = CONFIG["kernel_size"]
        self.depthwise = nn.Conv1d(D, D, kernel, padding=kernel // 2, groups=D)
        self.norm, self.mlp = nn.LayerNorm(D, EPS), Mlp()

    def forward(self, x):
        return x + self.mlp(self.norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2)))


class Vocoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Linear(CONFIG["bands"], D), nn.LayerNorm(D, EPS)
        self.blocks = nn.ModuleList(ConvNext() for _ in range(CONFIG["num_hidden_layers"]))
        self.final_norm, self.head = nn.LayerNorm(D, EPS), nn.Linear(D, N_FFT + 2)

    def forward(self, log_mel):
        """[B, F, bands] -> samples [B, F·hop]."""
        x = self.norm(self.embed((log_mel - LEVEL) / SPREAD))
        for block in self.blocks:
            x = block(x)
        magnitudes, phases = self.head(self.final_norm(x)).chunk(2, -1)
        magnitudes = magnitudes.clamp(max=LOUDEST).exp()
        spectrum = torch.complex(magnitudes * phases.cos(), magnitudes * phases.sin())
        return inverse(spectrum)


def inverse(spectrum):
    """Overlap and add, as Vocos does with its padding "same"."""
    hop, frames = N_FFT // 4, spectrum.shape[1]
    window = torch.hann_window(N_FFT)
    windows = torch.fft.irfft(spectrum, N_FFT) * window  # [B, F, n_fft]
    fold = lambda x: torch.nn.functional.fold(x.transpose(1, 2), (1, (frames - 1) * hop + N_FFT), (1, N_FFT), stride=(1, hop))[:, 0, 0]
    cut = slice((N_FFT - hop) // 2, (N_FFT - hop) // 2 + frames * hop)
    weights = fold(window.square().expand(1, frames, N_FFT))[:, cut].clamp(min=1e-3)
    return fold(windows)[:, cut] / weights


def magnitudes(samples, n_fft):
    hop = n_fft // 4
    padded = pad(samples, [(n_fft - hop) // 2] * 2)
    window = torch.hann_window(n_fft, dtype=samples.dtype)
    spectrum = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True).transpose(1, 2)
    return (spectrum.real.square() + spectrum.imag.square() + LEAST).sqrt()


def log(x):
    return x.clamp(min=FLOOR).log()


def losses_of(made, wanted, bands):
    spectra, sizes = 0.0, [N_FFT // 2, N_FFT, 2 * N_FFT]
    for n in sizes:
        a, b = magnitudes(made, n), magnitudes(wanted, n)
        spectra = spectra + ((log(a) - log(b)).abs().mean() + (a - b).norm() / b.norm()) / len(sizes)
    a, b = magnitudes(made, N_FFT), magnitudes(wanted, N_FFT)
    return spectra, (log(a @ bands) - log(b @ bands)).abs().mean()


def main():
    model = randomise(Vocoder())
    inputs = {"mel": normal("vocoder.mel", B, FRAMES, CONFIG["bands"], std=2.0) + LEVEL,
              "samples": normal("vocoder.samples", B, FRAMES * N_FFT // 4),
              "bands": normal("vocoder.bands", N_FFT // 2 + 1, CONFIG["bands"]).abs()}

    def run():
        made = model(inputs["mel"])
        spectra, mel = losses_of(made, inputs["samples"], inputs["bands"])
        return made, spectra, mel

    (made, spectra, mel), seen = capture(model, {}, run)
    # In double precision: logarithms of small magnitudes make of single a tolerance that tells nothing.
    double, exact = copy.deepcopy(model).double(), {name: x.double() for name, x in inputs.items()}
    loss = sum(losses_of(double(exact["mel"]), exact["samples"], exact["bands"]))
    slopes = {name: slope.float() for name, slope in gradients(double, loss).items()}
    write("vocoder", config=CONFIG, weights=dict(model.named_parameters()), inputs=inputs,
          outputs={**seen, "samples": made, "spectra": spectra.reshape(1), "mel": mel.reshape(1)},
          gradients=slopes, losses={"losses": curve(model, lambda: sum(run()[1:]))})


if __name__ == "__main__":
    main()

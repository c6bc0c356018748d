#!/usr/bin/env bash
# Makes runs/peers, the Python environment of the peers that `cargo xtask bench` measures against.
#
#     bench/peers/setup.sh
#
# Needs Python 3.10 or newer and a C++ compiler: llama.cpp is compiled for this very processor,
# about ten minutes on two cores, and torch's models in five more. torch from the ordinary index
# brings its CUDA libraries along, about 6 GB on disk; nothing here uses them.
set -euo pipefail
cd "$(dirname "$0")/../.."

python3 -m venv runs/peers
# OpenMP, as llama.cpp builds by default; no build for other processors, no HTTP, no tools.
export CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_OPENMP=ON -DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF"
runs/peers/bin/pip install --no-binary llama-cpp-python -r bench/peers/requirements.txt

# The model of P5 and P6 in four formats.
cargo xtask data smollm2
runs/peers/bin/python bench/peers/quantise.py data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

# What the others keep: exported encoders, compiled models.
for work in "onnx_vit.py" "torch_vit.py" "torch_step.py" "torch_step.py --bf16" "open_clip_step.py"; do
    # shellcheck disable=SC2086
    runs/peers/bin/python bench/peers/$work </dev/null
done

# P10's model with random weights, and what the rows of Whisper need beside Debian's package
# pocketsphinx-testdata, whose recording 0870 belongs in data/speech/0870.wav.
runs/peers/bin/python bench/peers/smolvlm_see.py runs/peers/models/smolvlm-256m --make
cargo xtask data whisper-tiny.en whisper-base
runs/peers/bin/python reference/whisper_real.py convert

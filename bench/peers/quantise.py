"""Q8_0, Q4_0 and Q4_K_M files beside the published Q4_1 file, made by llama.cpp's own quantiser.

    quantise.py data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

The numbers in them are those of Q4_1, rounded once more: for measuring speed, not quality.
"""

import pathlib
import sys

import llama_cpp as c

TYPES = {
    "Q8_0": c.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_0": c.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_K_M": c.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}


def main():
    source = pathlib.Path(sys.argv[1])
    for name, kind in TYPES.items():
        target = source.with_name(source.name.replace("Q4_1", name))
        if target.is_file():
            continue
        params = c.llama_model_quantize_default_params()
        params.ftype, params.allow_requantize, params.nthread = kind, True, 2
        status = c.llama_model_quantize(str(source).encode(), str(target).encode(), params)
        assert status == 0, f"llama_model_quantize returned {status} for {name}"


if __name__ == "__main__":
    main()

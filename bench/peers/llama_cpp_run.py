"""llama.cpp's side of P5 and P6: a prompt read at once, or tokens made one by one, a time a line.

    llama_cpp_run.py FILE.gguf prefill|decode|load TOKENS [--texts 1] [--threads 2] [--flash]

Loading is from the file to the first token after a prompt of so many. Decoding starts after a prompt of 16 tokens and takes the best token each time, whatever it is. Several
texts are decoded at once, a token of each in a batch.
"""

import argparse
import ctypes

import llama_cpp as c
import numpy

import protocol

PROMPT = 16


def quiet():
    """llama.cpp prints its whole loading to standard error."""
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    nothing = callback(lambda *_: None)
    c.llama_log_set(nothing, None)
    return nothing


class Model:
    def __init__(self, arguments):
        self.model = c.llama_model_load_from_file(arguments.file.encode(),
                                                  c.llama_model_default_params())
        assert self.model, f"cannot load {arguments.file}"
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        params = c.llama_context_default_params()
        params.n_batch = PROMPT + arguments.tokens
        params.n_ctx = params.n_batch * arguments.texts
        params.n_seq_max = arguments.texts
        params.n_threads = params.n_threads_batch = arguments.threads
        params.flash_attn_type = 1 if arguments.flash else 0
        params.no_perf = True
        self.context = c.llama_init_from_model(self.model, params)
        assert self.context, "cannot make a context"

    def close(self):
        c.llama_free(self.context)
        c.llama_model_free(self.model)

    def clear(self):
        c.llama_memory_clear(c.llama_get_memory(self.context), True)

    def read(self, tokens):
        """The best token after `tokens`, read by the first text."""
        array = (c.llama_token * len(tokens))(*tokens)
        status = c.llama_decode(self.context, c.llama_batch_get_one(array, len(tokens)))
        assert status == 0, f"llama_decode returned {status}"
        return self.best(-1)

    def step(self, batch, tokens, position):
        """The best token of each text after one more of each, at `position` in all of them."""
        batch.n_tokens = len(tokens)
        for text, token in enumerate(tokens):
            batch.token[text], batch.pos[text] = token, position
            batch.n_seq_id[text], batch.seq_id[text][0] = 1, text
            batch.logits[text] = True
        status = c.llama_decode(self.context, batch)
        assert status == 0, f"llama_decode returned {status}"
        return [self.best(text) for text in range(len(tokens))]

    def best(self, index):
        logits = c.llama_get_logits_ith(self.context, index)
        return int(numpy.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("task", choices=["prefill", "decode", "load"])
    parser.add_argument("tokens", type=int)
    parser.add_argument("--texts", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash", action="store_true")
    arguments = parser.parse_args()

    callback = quiet()
    c.llama_backend_init()
    model = Model(arguments)
    # Spread over the vocabulary, as bench's own side does.
    tokens = [i * 7919 % 49152 for i in range(max(arguments.tokens, PROMPT))]
    batch = c.llama_batch_init(arguments.texts, 0, 1)
    state = {"next": []}

    def prefill():
        model.read(tokens[: arguments.tokens])

    def prompt():
        model.clear()
        for position, token in enumerate(tokens[:PROMPT]):
            state["next"] = model.step(batch, [token + text for text in range(arguments.texts)], position)

    def decode():
        for position in range(PROMPT, PROMPT + arguments.tokens):
            state["next"] = model.step(batch, state["next"], position)

    def load():
        fresh = Model(arguments)
        fresh.read(tokens[: arguments.tokens])
        fresh.close()

    name = f"llama.cpp (llama-cpp-python {c.__version__}{', flash' if arguments.flash else ''})"
    if arguments.task == "prefill":
        protocol.serve(name, prefill, prepare=model.clear)
    elif arguments.task == "load":
        model.close()
        protocol.serve(name, load)
    else:
        protocol.serve(name, decode, prepare=prompt)
    del callback


if __name__ == "__main__":
    main()

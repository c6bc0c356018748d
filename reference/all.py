"""Makes every golden anew: `python reference/all.py`."""

import clip
import llama
import llava
import nano_vit
import ops
import siglip
import vit
import whisper
import whisper_mel

if __name__ == "__main__":
    for script in (ops, nano_vit, vit, clip, siglip, llama, llava, whisper, whisper_mel):
        script.main()

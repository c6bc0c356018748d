"""Makes every golden anew: `python reference/all.py`."""

import clip
import llama
import llava
import nano_vit
import ops
import published
import siglip
import vit

if __name__ == "__main__":
    for script in (ops, nano_vit, vit, clip, siglip, llama, llava, published):
        script.main()

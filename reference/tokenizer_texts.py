"""What tokenizers are trained on and asked."""

LINES = [
    "The quick brown fox jumps over the lazy dog.",
    "A photo of a cat on a mat, and of two dogs.",
    "What is in the picture? The picture shows a red house.",
    "He said: it's the 7th of May, isn't it? Yes, they've won 42 to 13!",
    "A cat sat on the mat; the dog was lazy.",
    "Über den Fluß zum naïve Café - déjà vu.",
    "the the the of of in in a a house houses red reddish cat cats dog dogs",
]

TEXTS = [
    "",
    " ",
    "A photo of a cat",
    "  two  dogs, on the mat.  ",
    "It's the HOUSE\nof  the\tfox; they've won!",
    "Café naïve ẞ ß ÉTÉ e\u0301",
    "ＦＵＬＬ ﬁne ½ ２",
    "你好 \U0001f600 z\u00df",
    "1234567 3.14 x_y=[0]",
    "a\u00a0b \u2581c",
    "reddish... \"cats\" & dogs' (houses)",
]

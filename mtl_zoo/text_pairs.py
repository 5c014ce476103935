"""Two texts in one string, for tasks about a pair: is one implied by the other?"""

SEPARATOR = "\x1e"
"""ASCII's record separator, which no text holds by itself."""


def paired(first: str, second: str) -> str:
    r"""Return two texts as one, which a text trunk reads as a pair.

    As BERT reads a pair (Devlin et al., 2019, section 3.1): `[CLS] first [SEP] second
    [SEP]`, the pieces of the second text in segment 1. A head on `sentence`, such as
    `Classification` for entailment or `Regression` for relatedness, then is about both.

    Args:
        first: The first text.
        second: The second one.

    Raises:
        ValueError: When one of them holds the separator.

    Example:
        >>> paired("A man sings.", "Someone performs.")
        'A man sings.\x1eSomeone performs.'
    """
    for text in (first, second):
        if SEPARATOR in text:
            raise ValueError(
                f"Expected texts without the separator {SEPARATOR!r}. Received: "
                f"{text!r}"
            )
    return f"{first}{SEPARATOR}{second}"

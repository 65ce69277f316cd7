"""How text is cut into words before a tokenizer merges their bytes: a table of known families.

In: `pre_tokenizer` and `normalizer` of a `tokenizer.json`. Out: the name of the family, and whether
text is composed first. What is not in the table is refused, so that no file can bring a pattern of
its own.
"""

from __future__ import annotations

from typing import Any

from mogao.errors import CheckpointError

OWN_WORDS = "mogao"
# A word keeps the space before it; a digit is a token of its own, also with a space before it.
_MOGAO = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


WORDS: dict[str, list[dict[str, Any]]] = {
    OWN_WORDS: [_split(_MOGAO), _byte_level(use_regex=False)],
    "gpt2": [_byte_level(use_regex=True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)],
    "qwen2": [_split(_QWEN2), _byte_level(use_regex=False)],
    "llama3": [_split(_LLAMA3), _byte_level(use_regex=False)],
}
"""How text is cut into words before merges: the steps of the pre-tokenizer of each family.

Source: `tokenizer.json` of SmolLM2 and Llama 3, `Qwen2Tokenizer` of transformers.
"""


def words_of(pre_tokenizer: Any) -> str:
    """Return the family, a key of `WORDS`, that cuts text as a pre-tokenizer does.

    Raises:
        CheckpointError: It is none of them.
    """
    steps = [_relevant(step) for step in _steps(pre_tokenizer, "pretokenizers")]
    for name, known in WORDS.items():
        if steps == [_relevant(step) for step in known]:
            return name
    raise CheckpointError(
        f"pre_tokenizer {pre_tokenizer!r:.300} is not known; only byte-level BPE that cuts words "
        f"as {', '.join(WORDS)} do can be read, because another pattern could stall on a text"
    )


def _relevant(step: dict[str, Any]) -> dict[str, Any]:
    """What of a step decides on words: not the offsets; older files do not name the pattern."""
    defaults = {"use_regex": True} if step.get("type") == "ByteLevel" else {}
    return defaults | {key: value for key, value in step.items() if key != "trim_offsets"}


def is_nfc(normalizer: Any) -> bool:
    """Return whether text is composed first.

    Raises:
        CheckpointError: The normalizer does anything else.
    """
    steps = _steps(normalizer, "normalizers")
    if steps not in ([], [{"type": "NFC"}]):
        raise CheckpointError(f"normalizer must be null or NFC, got {normalizer!r:.200}")
    return bool(steps)


def _steps(data: Any, key: str) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer or normalizer, whether or not they stand in a sequence."""
    if isinstance(data, dict) and data.get("type") == "Sequence":
        data = data.get(key)
    steps = data if isinstance(data, list) else [] if data is None else [data]
    if not all(isinstance(step, dict) for step in steps):
        raise CheckpointError(f"{key} must be objects with a type, got {data!r:.200}")
    return steps

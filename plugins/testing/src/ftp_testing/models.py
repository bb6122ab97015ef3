"""Tiny random models with their tokenizers, made in a second without the network. For tests only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

__all__ = ["CHAT", "TEXTS", "Kind", "tiny", "tiny_tokenizer"]

Kind = Literal["bert", "roberta", "gpt2", "llama", "t5", "bart"]
"""`bert`, `roberta`: encoders with a mask head (roberta's positions start behind the pad token's number). `gpt2`: a
decoder with Conv1D layers, tied embeddings and no pad token. `llama`: a decoder with an output layer of its own, whose
tokenizer writes a BOS. `t5`, `bart`: encoder-decoders; bart counts positions and puts a BOS before texts and answers."""

TEXTS = (
    "The film was a quiet joy from the first scene to the last.",
    "I would not watch this again, not even if it were free.",
    "Our waiter forgot the soup, the bread and in the end the bill.",
    "What is the capital of Norway? The capital of Norway is Oslo.",
    "Seven plus five is twelve, and twelve minus five is seven.",
    "Please write a short letter to the bank about the new card.",
    "The patient had a fever for 3 days and was sent home on day 4.",
    "Prices rose by 2.5 percent in March, more than was expected.",
)
"""What the tokenizers are trained on, and something to feed the models with."""

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of the decoders (ChatML); llama's writes the BOS in front, as its tokenizer does."""

_SIZES: dict[Kind, dict[str, object]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
             "max_position_embeddings": 256, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
                "max_position_embeddings": 258, "type_vocab_size": 1, "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
             "attn_pdrop": 0.0},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 64, "max_position_embeddings": 256, "tie_word_embeddings": False},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
             "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 256, "dropout": 0.0},
}

PAIRED: tuple[Kind, ...] = ("t5", "bart")
"""Kinds with an encoder and a decoder; their tokenizers have no chat template."""


def tiny(kind: Kind, folder: Path, *, seed: int = 0, vocab_size: int = 320, **config: Any) -> Path:
    """Write a tiny random model of a kind with its tokenizer into `folder` (Transformers layout) and return the folder.

    The same arguments give the same bytes. Decoders have a chat template.

    Args:
        kind: which architecture; `Kind` says what each of them has.
        folder: where the files are written, made where it is absent.
        seed: of the random weights.
        vocab_size: the most tokens that the tokenizer has.
        config: options of the architecture's configuration of Transformers (`hidden_size`, `n_layer`, ...). Dropout is off
            unless one of them sets it.

    Raises:
        ValueError: there is no such kind.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r}: one of {', '.join(get_args(Kind))}")
    tokenizer = tiny_tokenizer(kind, vocab_size=vocab_size)
    # the network and its tokenizer have to agree on these
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad")}
    settings = {"vocab_size": len(tokenizer), **ids, **_SIZES[kind], **config}
    # T5 begins to write with its pad token, BART with its end of text
    if kind in PAIRED:
        start = tokenizer.pad_token_id if kind == "t5" else tokenizer.eos_token_id
        settings.setdefault("decoder_start_token_id", start)
    auto = {"bert": AutoModelForMaskedLM, "roberta": AutoModelForMaskedLM, **dict.fromkeys(PAIRED, AutoModelForSeq2SeqLM)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = auto.get(kind, AutoModelForCausalLM).from_config(AutoConfig.for_model(kind, **settings))
        with torch.no_grad():  # spread out, so that two models or two inputs never agree by chance
            for weight in net.parameters():
                weight.add_(torch.randn_like(weight) * 0.05)
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config_of(kind: Kind) -> PretrainedConfig:
    """The configuration of a kind, of whatever size."""
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **_SIZES[kind])


@cache
def _pieces(texts: tuple[str, ...], vocab_size: int, special: tuple[str, ...]) -> dict[str, int]:
    """Word pieces: the letters, as words begin and go on with them, and the most frequent words. Not trained, as the trainer of
    word pieces breaks ties by chance, and each process would have others."""
    from tokenizers import normalizers, pre_tokenizers

    normal, split = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts = Counter[str]()
    for text in texts:
        counts.update(word for word, _ in split.pre_tokenize_str(normal.normalize_str(text)))
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    letters = [f"##{character}" for character in characters if character.isalnum()]
    by_count = sorted(counts, key=lambda word: (-counts[word], word))
    words = [word for word in by_count if len(word) > 1]
    pieces = [*special, *characters, *letters, *words]
    return {piece: token for token, piece in enumerate(pieces[:vocab_size])}


def tiny_tokenizer(kind: Kind, *, vocab_size: int = 320, texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerFast:
    """The tokenizer of `tiny`: word pieces with [CLS] and [SEP] for encoders, byte-level BPE for the others.

    Args:
        kind: as in `tiny`.
        vocab_size: the most tokens that it has.
        texts: what it is trained on.
    """
    if kind in ("bert", "roberta"):
        return _word_piece_tokenizer(kind, vocab_size, tuple(texts))
    return _byte_level_tokenizer(kind, vocab_size, list(texts))


def _word_piece_tokenizer(kind: Kind, vocab_size: int, texts: tuple[str, ...]) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    cls, pad, sep, unk, mask = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
    special = [pad, unk, cls, sep, mask] if kind == "bert" else [cls, pad, sep, unk, mask]
    inner = Tokenizer(models.WordPiece(_pieces(texts, vocab_size, tuple(special)), unk_token=unk))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.add_special_tokens(special)
    inner.decoder = decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B:1 {sep}:1", special_tokens=_with_ids(inner, cls, sep))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=pad, unk_token=unk, cls_token=cls, sep_token=sep,
                                   mask_token=mask, model_max_length=256)


_SPECIAL: dict[Kind, list[str]] = {
    "gpt2": ["<|endoftext|>"], "llama": ["<s>", "</s>", "<pad>"], "t5": ["<pad>", "</s>"],
    "bart": ["<s>", "<pad>", "</s>", "<mask>"],
}
_TURNS = ["<|im_start|>", "<|im_end|>"]
_ROLES: dict[Kind, dict[str, str]] = {
    "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    "llama": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    "t5": {"eos_token": "</s>", "pad_token": "<pad>"},
    "bart": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>",
             "mask_token": "<mask>"},
}
_AROUND_TEXTS: dict[Kind, tuple[str, str]] = {
    "llama": ("<s> $A", "<s> $A <s> $B:1"), "t5": ("$A </s>", "$A </s> $B </s>"),
    "bart": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
}
"""What the tokenizer writes around one text, and around two; nothing where a kind is not named."""


def _byte_level_tokenizer(kind: Kind, vocab_size: int, texts: list[str]) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    turns = [] if kind in PAIRED else _TURNS
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[*_SPECIAL[kind], *turns], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if kind in _AROUND_TEXTS:
        single, pair = _AROUND_TEXTS[kind]
        ends = [token for token in ("<s>", "</s>") if token in single]
        inner.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=_with_ids(inner, *ends))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=256, **_ROLES[kind])
    if kind not in PAIRED:
        tokenizer.chat_template = "{{ bos_token }}" + CHAT if kind == "llama" else CHAT
    return tokenizer


def _with_ids(tokenizer: Tokenizer, *tokens: str) -> list[tuple[str, int | None]]:
    return [(token, tokenizer.token_to_id(token)) for token in tokens]

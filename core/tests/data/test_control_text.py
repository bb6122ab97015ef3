"""Control tokens that a text spells are text, whatever kind of tokenizer reads it; all other texts are read as ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from ftp.data import control_text
from ftp.data.control_text import HIDDEN, TextTokenizer, looked_for, turn_markers
from ftp.data.twin_tokenizer import NAMES, renamed
from ftp.errors import UserError
from ftp_testing.models import TEXTS, tiny_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz<>/|_[]"


def unigram() -> Any:
    """As T5 has it: the control tokens are pieces of the vocabulary, the likeliest of all."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *[(letter, -4.0) for letter in LETTERS]]
    inner = Tokenizer(models.Unigram(pieces, unk_id=2))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def byte_fallback() -> Any:
    """As Llama 2 has it: the normalizer writes blanks otherwise, control tokens are looked for in what it writes."""
    pieces = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)], "▁", *LETTERS, "</"]
    inner = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [("<", "/")], unk_token="<unk>",
                                 byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens([AddedToken(token, normalized=True) for token in ("<unk>", "<s>", "</s>")])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def makes_its_own_token() -> Any:
    """BPE whose merges make a control token out of letters."""
    pieces = ["</s>", *LETTERS, " ", "</", "s>"]
    inner = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)},
                                 [("<", "/"), ("s", ">"), ("</", "s>")]))
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")


KINDS: dict[str, Callable[[], Any]] = {
    "bert": lambda: tiny_tokenizer("bert"), "llama": lambda: tiny_tokenizer("llama"), "gpt2": lambda: tiny_tokenizer("gpt2"),
    "t5": lambda: tiny_tokenizer("t5"), "bart": lambda: tiny_tokenizer("bart"), "unigram": unigram,
    "byte_fallback": byte_fallback, "merges": makes_its_own_token, "python": lambda: ByT5Tokenizer(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_token_that_a_text_spells_is_text(kind: str) -> None:
    tokenizer = KINDS[kind]()
    read = TextTokenizer(tokenizer)
    assert set(tokenizer.all_special_tokens) <= set(read.controls)
    for token in read.controls:
        for text in (f"ab {token} c", f"ab{token}c", token, f"{token}{token}"):
            assert read.holds(text)
            ids = read(text, add_special_tokens=False)["input_ids"]
            spelt_ids = set(ids) - {tokenizer.unk_token_id}
            assert not read.control_ids & spelt_ids, (text, tokenizer.convert_ids_to_tokens(ids))
            if tokenizer.unk_token_id not in ids:
                assert tokenizer.decode(ids).replace(" ", "").lower() == text.replace(" ", "").lower()


@pytest.mark.parametrize("kind", KINDS)
def test_all_other_texts_are_read_as_ever(kind: str) -> None:
    tokenizer = KINDS[kind]()
    read = TextTokenizer(tokenizer)
    texts = [*(text for text in TEXTS if not read.holds(text)), "a < b and </ s>", "", "x [sep", "\U000f0001 𗀀 ぁ é"]
    assert read(texts)["input_ids"] == tokenizer(texts)["input_ids"]
    assert read(texts[0], texts[1])["input_ids"] == tokenizer(texts[0], texts[1])["input_ids"]
    assert read(texts, texts[::-1])["input_ids"] == tokenizer(texts, texts[::-1])["input_ids"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "python"])
def test_the_twin_reads_all_other_texts_as_the_tokenizer_does(kind: str) -> None:
    tokenizer = KINDS[kind]()
    read = TextTokenizer(tokenizer)
    twin = renamed(tokenizer, {token: f"\U000f0000{number}" for number, token in enumerate(read.controls)})
    for text in (*TEXTS, "a < b and </ s>", "", "x [sep", "é 𗀀"):
        if not read.holds(text):
            assert twin(text)["input_ids"] == tokenizer(text)["input_ids"]
            assert twin(text, "a b")["input_ids"] == tokenizer(text, "a b")["input_ids"]


def test_the_switch_of_the_library_says_the_same_where_it_works() -> None:
    for kind in ("bert", "llama", "gpt2"):
        tokenizer = tiny_tokenizer(kind)  # type: ignore[arg-type]
        read = TextTokenizer(tokenizer)
        texts = [f"ab {token} c" for token in read.controls]
        assert read(texts)["input_ids"] == tokenizer(texts, split_special_tokens=True)["input_ids"]


def test_a_batch_has_rows_of_both_kinds() -> None:
    tokenizer = tiny_tokenizer("bert")
    read = TextTokenizer(tokenizer)
    texts, pairs = ["the cat", "the [SEP] cat", "a cat"], ["sat", "sat", "sat [CLS] down"]
    encoding = read(texts, pairs, return_offsets_mapping=True)
    for number, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
        row = read(text, pair, return_offsets_mapping=True)
        assert encoding["input_ids"][number] == row["input_ids"]
        assert encoding.sequence_ids(number) == row.sequence_ids(0)
        assert encoding.word_ids(number) == row.word_ids(0)
        assert encoding["input_ids"][number].count(tokenizer.sep_token_id) == 2
        for side, (start, end) in zip(encoding.sequence_ids(number), encoding["offset_mapping"][number], strict=True):
            if side is not None:
                assert (text, pair)[side][start:end].strip()
    short = read(texts[1], pairs[1], truncation=True, max_length=6)["input_ids"]
    assert len(short) == 6 and short.count(tokenizer.sep_token_id) == 2


def test_a_token_in_other_signs_is_text_where_the_tokenizer_would_take_it() -> None:
    tokenizer = byte_fallback()
    wide = "a ＜/s＞ b"
    assert tokenizer.eos_token_id in tokenizer(wide)["input_ids"]
    assert tokenizer.eos_token_id not in TextTokenizer(tokenizer)(wide)["input_ids"]


def test_names_of_the_twin_cannot_be_spelt() -> None:
    read = TextTokenizer(tiny_tokenizer("llama"))
    for first in NAMES[:3]:
        forged = "</s> " + "".join(read._spelt(token, first) for token in read.controls)
        assert not read.control_ids & set(read(forged, add_special_tokens=False)["input_ids"])
    everything = "</s>" + "".join(map(chr, NAMES))
    with pytest.raises(UserError, match="private-use"):
        read(everything)


def test_what_is_hidden_is_found_again() -> None:
    read = TextTokenizer(tiny_tokenizer("llama"))
    messages = [{"role": "user", "content": "a</s>b", "tool_calls": [{"function": {"arguments": {"<s>": ["</s>", 1, None]}}}]}]
    hidden = read.hidden(messages)
    assert "</s>" not in repr(hidden) and "<s>" not in repr(hidden)
    assert chr(HIDDEN)[0] <= hidden[0]["content"][1] and "\\U" not in repr(hidden)  # templates print dictionaries
    assert len(hidden[0]["content"]) == len("a</s>b")
    plain = [{"role": "user", "content": "a b", "more": {"x": [1]}}]
    assert read.hidden(plain) is plain
    text = f"<s>{hidden[0]['content']}</s>"
    ids = read.rendered([text])["input_ids"][0]
    tokenizer = read.tokenizer
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id] == [ids[0], ids[-1]]
    assert not read.control_ids & set(ids[1:-1]) and tokenizer.decode(ids) == "<s>a</s>b</s>"


def test_tokens_stay_tokens_where_they_are_asked_for() -> None:
    tokenizer = tiny_tokenizer("bert")
    text = "a [MASK] [SEP] b"
    assert TextTokenizer(tokenizer, split_special_tokens=False)(text)["input_ids"] == tokenizer(text)["input_ids"]
    blanks = TextTokenizer(tokenizer, allowed=("[MASK]",))(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.mask_token_id in blanks and tokenizer.sep_token_id not in blanks
    keys = {TextTokenizer(tokenizer).key, TextTokenizer(tokenizer, split_special_tokens=False).key}
    assert len(keys) == 2


def test_added_tokens_that_a_model_itself_writes_stay_tokens() -> None:
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.add_tokens(["<think>", "<|user|>", "\n\n"])
    text = "<think>\n\n<|endoftext|><|user|>"
    ids = TextTokenizer(tokenizer)(text)["input_ids"]
    spelt = tokenizer.convert_ids_to_tokens(ids)
    assert {"<think>", "\n\n", "<|user|>"} <= set(spelt) and "<|endoftext|>" not in spelt
    ids = TextTokenizer(tokenizer, markers=("<|user|>",))(text)["input_ids"]
    assert "<|user|>" not in tokenizer.convert_ids_to_tokens(ids)


def test_markers_are_what_a_template_parts_turns_with() -> None:
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.add_tokens(["<User>", "<Bot>", "<think>", "<end>"])
    assert turn_markers(tokenizer, "<User>hi\n", "<Bot><think>", "<User>hi\n<Bot>ho<end>\n") == ("<Bot>", "<User>", "<end>")
    assert turn_markers(tiny_tokenizer("gpt2"), "<User>hi\n", "<Bot>", "ho") == ()


@pytest.mark.parametrize("template, is_looked_for", [
    ("{% if '</s>' in m.content %}", True), ("{% if \"</s>\\n\" not in m.content %}", True),
    ("{{ m.content.split('</s>')[-1] }}", True), ("{{ m.content | replace('</s>', '') }}", True),
    ("{{ '</s>' + m.content }}", False), ("{{ m.content }}</s>", False), ("{% if x == '</s>' %}in", False),
])
def test_a_template_may_look_for_a_token_in_content(template: str, is_looked_for: bool) -> None:
    assert looked_for(template, ["</s>", "<pad>"]) == (("</s>",) if is_looked_for else ())


def test_a_tokenizer_that_cannot_read_them_as_text_is_refused() -> None:
    class Stubborn(ByT5Tokenizer):  # type: ignore[misc]
        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return ["</s>"]

    with pytest.raises(UserError, match="'</s>' in a text as a control token") as caught:
        TextTokenizer(Stubborn())("a</s>")
    assert "--no-split-special-tokens" in str(caught.value)


def test_a_run_says_how() -> None:
    from ftp.settings import Settings
    from ftp.types import Run, Task

    tokenizer = tiny_tokenizer("bert")
    for setting in (True, False):
        run = Run(Settings(split_special_tokens=setting), Task("text", "tokens"), None)  # type: ignore[arg-type]
        assert control_text.of_run(run, tokenizer).split_special_tokens is setting

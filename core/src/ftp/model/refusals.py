"""What a checkpoint is refused for, in words: a folder that is no model, weights that nobody can read, a class that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.errors import Problem, UserError
from ftp.model.source import Source

if TYPE_CHECKING:
    from ftp.model.new_modules import LoadingReport

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
                   "tekken.json", "vocab.model", "tiktoken.model")
"""Files of which a folder with a tokenizer has one. Code of the model's own can have others."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
"""Names of weights that Python unpickles, which can run code."""


def check_folder(source: Source, trust_remote_code: bool = False) -> None:
    """Raise `UserError` with everything that is missing in a folder: configuration, safetensors weights, tokenizer."""
    folder = source.folder
    if folder is None:
        return
    problems: list[Problem] = []
    if (folder / "adapter_config.json").exists():
        raise UserError(f"--model {source.name}: this is an adapter, not a whole model",
                        "merge it into its base first, then name the merged folder",
                        f"ftp merge {folder} --out {folder}-merged")
    if not (folder / "config.json").is_file():
        problems.append(Problem(f"--model {source.name}: {folder} has no config.json",
                                "a model is a folder with config.json, model.safetensors and its tokenizer"))
    # unpickling can run code, so weights in that form are named and not read
    if not any(folder.glob("*.safetensors")):
        pickles = _pickles(folder)
        if pickles:
            problems.append(Problem(f"--model {source.name}: its weights are pickled ({pickles[0].name}), which can run code; "
                                    "only safetensors are loaded", "convert them if you trust their origin",
                                    conversion(pickles[0])))
        else:
            problems.append(Problem(f"--model {source.name}: {folder} has no weights (*.safetensors)"))
    if not trust_remote_code and not any((folder / name).exists() for name in TOKENIZER_FILES):
        problems.append(Problem(f"--model {source.name}: {folder} has no tokenizer",
                                "copy tokenizer.json and tokenizer_config.json of the model it was made from into it"))
    if problems:
        raise UserError(problems)


def _pickles(folder: Path) -> list[Path]:
    """The pickled weights of a folder. Trainers write their arguments as `training_args.bin`, which are none."""
    files: list[Path] = []
    for pattern in PICKLES:
        files += [file for file in folder.glob(pattern) if file.name != "training_args.bin"]
    return sorted(files)


def conversion(pickle: Path) -> str:
    """A command that writes a pickled state dict as safetensors beside it, without running code from the file."""
    target = pickle.with_name("model.safetensors")
    return ("python -c \"import torch, safetensors.torch as s; "
            f"w = torch.load(r'{pickle}', map_location='cpu', weights_only=True); "
            f"s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, r'{target}', metadata={{'format': 'pt'}})\"")


def check_weights(source: Source, info: LoadingReport, inside: Callable[[str], bool]) -> None:
    """Raise `UserError` where weights of the body do not match the configuration. A head may be new.

    Args:
        info: the loading report of Transformers.
        inside: whether a weight is one of the body (`new_modules.inside_body`).
    """

    def in_body(names: Iterable[str]) -> list[str]:
        # a pooler is part of the head: BERT's language model has none
        return sorted(name for name in names if inside(name) and "pooler" not in name.split("."))

    problems = []
    misshapen = [mismatch for mismatch in info["mismatched_keys"] if inside(mismatch[0])]
    if misshapen:
        name, shape, expected = min(misshapen)
        problems.append(f"{len(misshapen)} have another shape ({name} is {list(shape)}, the configuration says {list(expected)})")
    missing = in_body(info["missing_keys"])
    if missing:
        problems.append(f"{len(missing)} are missing ({some(missing)})")
    unexpected = in_body(info["unexpected_keys"])
    if unexpected:
        problems.append(f"{len(unexpected)} have no place ({some(unexpected)})")
    if problems:
        raise UserError(f"--model {source.name}: weights that do not match the config: {'; '.join(problems)}",
                        "config.json belongs to another model, or the weights are incomplete: get both from one place")


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn what transformers raises over a user's model into a `UserError`."""
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except SafetensorError as error:
        raise UserError(f"--model {source.name}: the weights cannot be read: {first_line(error)}",
                        "the file is incomplete or damaged: copy it again") from error
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        # Transformers has no classes of errors for these: its words are all that there is
        text = str(error)
        if "trust_remote_code" in text:
            raise UserError(f"--model {source.name}: it needs code of its own to run, which was not loaded",
                            "read that code, and if you trust it:", "add --trust-remote-code") from error
        if not source.local and ("safetensors" in text or "use_safetensors" in text):
            raise UserError(f"--model {source.name}: its weights are not safetensors on the hub, and pickled ones can run code",
                            "download it, convert it (see --model FOLDER), or take a revision that has safetensors") from error
        raise UserError(f"--model {source.name}: it cannot be loaded: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """An error as one line of text."""
    line, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {line.strip()}"[:400]


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and dots where there are more."""
    dots = ", ..." if len(names) > most else ""
    return ", ".join(names[:most]) + dots

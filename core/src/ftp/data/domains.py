"""Several domains in one run: their rows joined by split, each with the name of its domain, and dealt by their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from ftp import forms
from ftp.errors import Problem, UserError
from ftp.forms.spec import names_of
from ftp.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

    from ftp.data.row_types import ColumnType, ColumnTypes, Rows

COLUMN = "from_domain"
"""The column of rows of several domains that names the domain of each."""


# --- shares ---


def read_shares(pairs: Sequence[str]) -> tuple[dict[str, float], list[Problem]]:
    """`("chat=0.7", "medical=0.3")` as numbers by domain, and what is wrong with it."""
    shares: dict[str, float] = {}
    problems: list[Problem] = []
    for pair in pairs:
        name, _, number = map(str.strip, pair.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not name or not 0 < share < 1:
            problems.append(Problem(f"--mix {pair}: not of the form domain=share", "a share is a number between 0 and 1",
                                    "--mix chat=0.7,medical=0.3"))
        elif name in shares:
            problems.append(Problem(f"--mix: {name} has two shares", "give each domain one"))
        shares[name] = share
    total = sum(shares.values())
    if not problems and abs(total - 1) > 1e-6:
        problems.append(Problem(f"--mix: the shares sum to {total:g}", "they sum to 1"))
    return shares, problems


def deal(
    settings: Settings, domains: Sequence[str], lengths: NDArray[np.int64], rows: NDArray[np.int64], epoch: int
) -> list[NDArray[np.int64]]:
    """The updates of an epoch in which each domain has its share of the rows, in a new random order.

    An epoch has as many rows as there are. Each domain deals its own rows one after the other, in a random order that is
    drawn anew once all are dealt, and goes on from epoch to epoch: no row comes again before the others of its domain.
    What is dealt is shuffled as a whole, so that every update has the shares in expectation.

    Args:
        domains: the domain of each training row.
        rows: the number of the training row of each encoded row.

    Raises:
        UserError: a domain has no row left.
    """
    import numpy as np

    from ftp.data import batches

    shares, _ = read_shares(settings.domain_shares)
    # Encoded rows are dealt, and some rows become several of them or none.
    domain_of = np.asarray(domains)[rows]
    dealt: list[NDArray[np.int64]] = []
    for i, (domain, count) in enumerate(counts_of(shares, len(rows)).items()):
        own = np.flatnonzero(domain_of == domain)
        if not len(own):
            raise UserError(f"--mix {domain}={shares[domain]:g}: no training row of this domain is left",
                            "give it rows that can be encoded, or leave it out")
        # The domain's rows are an endless deal, of which each epoch takes the next `count`.
        first = epoch * count
        rounds = range(first // len(own), (first + count - 1) // len(own) + 1)
        shuffled = [np.random.default_rng([settings.seed, i, number]).permutation(own) for number in rounds]
        start = first % len(own)
        dealt.append(np.concatenate(shuffled)[start : start + count])
    order = np.concatenate(dealt)
    plan = batches.plan(lengths[order], batch_size=settings.batch_size, batch_tokens=settings.batch_tokens, seed=settings.seed,
                        epoch=epoch)
    return [order[update] for update in plan]


def dealt_rows(settings: Settings, domains: Sequence[str], rows: NDArray[np.int64]) -> str:
    """What an epoch deals, in words. Args as of `deal`."""
    import numpy as np

    domain_of = np.asarray(domains)[rows]
    shares, _ = read_shares(settings.domain_shares)
    parts: list[str] = []
    for domain, count in counts_of(shares, len(rows)).items():
        own = int((domain_of == domain).sum())
        parts.append(f"{domain} {count:,} ({count / max(1, own):.2g} times each of its {own:,})")
    return f"--mix: rows of an epoch by domain: {', '.join(parts)}"


def counts_of(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Rows of each domain of `total`, at least one each, as near to the shares as whole numbers are (largest remainders)."""
    counts = {domain: max(1, int(share * total)) for domain, share in shares.items()}
    # Whole parts first; what is left goes to the domains that lack most of their share.
    remainders = sorted(shares, key=lambda domain: counts[domain] - shares[domain] * total)
    for domain in remainders[: max(0, total - sum(counts.values()))]:
        counts[domain] += 1
    return counts


# --- rows ---


def same_labels(labels: Mapping[str, Sequence[str]]) -> list[Problem]:
    """What is wrong where domains have different classes; their order may differ.

    Args:
        labels: domain -> the names of its classes.
    """
    if len(set(map(frozenset, labels.values()))) < 2:
        return []
    each = "; ".join(f"'{domain}' has {', '.join(names) or 'none'}" for domain, names in labels.items())
    takes_names = "give all the same names (for example with --DOMAIN.labels, where a domain has that option)"
    return [Problem(f"the domains of this run have different labels: {each}", f"{takes_names}, or train each domain alone")]


def join(parts: Mapping[str, Mapping[str, Rows]], form: str) -> tuple[dict[str, Dataset], list[str]]:
    """The rows of all domains by split, each with its domain in `COLUMN`; and notes to tell.

    They have the columns of the form, and beside these what all domains have in one type: a column that some rows lack would be
    read as if they had it. Held-out rows take turns, so that the first rows of a split, which some plugins look at, are of all
    domains; those of each domain keep their order.

    Args:
        parts: domain -> its splits, which have the columns of `form`.
    """
    import numpy as np
    from datasets import concatenate_datasets

    by_split: dict[str, dict[str, Rows]] = {}
    for domain, splits in parts.items():
        for split, rows in splits.items():
            by_split.setdefault(split, {})[domain] = rows
    notes: list[str] = []
    joined: dict[str, Dataset] = {}
    for split, rows_of in by_split.items():
        types, left_out = _common_types([rows.features for rows in rows_of.values()], form)
        named = [_named(rows, domain, types) for domain, rows in rows_of.items()]
        joined[split] = concatenate_datasets(named)
        if split != "train":
            turns = np.concatenate([np.arange(len(rows)) for rows in named])
            joined[split] = joined[split].select(np.argsort(turns, kind="stable"))
        each = ", ".join(f"{domain} {len(rows):,}" for domain, rows in rows_of.items())
        notes.append(f"{split}: rows by domain: {each}")
        if left_out:
            notes.append(f"columns that not all domains have in one type are left out: {', '.join(left_out)}")
    return joined, list(dict.fromkeys(notes))


def _common_types(types_of_domains: Sequence[ColumnTypes], form: str) -> tuple[dict[str, ColumnType], list[str]]:
    """The type of each column of joined rows, and the columns that are left out."""
    from datasets import Value

    of_form = names_of(forms.get(form).columns)
    common: dict[str, ColumnType] = {}
    left_out: list[str] = []
    for name in dict.fromkeys(chain.from_iterable(types_of_domains)):
        own_types = [types[name] for types in types_of_domains if name in types]
        is_common = own_types == own_types[:1] * len(types_of_domains)
        if name not in of_form and not is_common:
            left_out.append(name)
        else:  # a number may be whole in one domain and decimal in another
            common[name] = Value("float64") if Value("float64") in own_types else own_types[0]
    return common, left_out


def _named(rows: Dataset, domain: str, types: ColumnTypes) -> Dataset:
    """The rows of a domain with the common columns, and its name."""
    from datasets import Features, Value

    columns = [name for name in rows.column_names if name in types and name != COLUMN]
    common = Features({name: types[name] for name in columns})
    rows = rows.select_columns(columns)
    if rows.features != common:
        rows = rows.cast(common)
    return rows.add_column(COLUMN, [domain] * len(rows), feature=Value("string"))

"""From text to BM25 terms, by script, so that no caller has to name a language.

Every text is NFKC-normalised and case-folded. Then, run by run:

- scripts written without spaces become overlapping character n-grams: Chinese and Japanese
  bigrams; Thai, Lao, Khmer and Burmese trigrams;
- everything else becomes words: letters, digits and combining marks. An underscore separates,
  so that `read_csv` is found by "read csv".

English words also lose a small stop list and their endings (Snowball). Whether a collection is
English is decided once for the whole of it (`looks_english`): passages and queries must be cut
alike, and a single query is too short to tell.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import Literal, Protocol, TypeAlias, cast

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.extras import import_extra

Language: TypeAlias = Literal["auto", "english", "other"]
LANGUAGES: tuple[Language, ...] = ("auto", "english", "other")

# Function words that stand in nearly every English sentence.
ENGLISH_STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with".split()
)

# Share of stop words among the Latin-script words above which a collection counts as English.
# Measured on 60 collections: 0.13 (Python code) to 0.37 in English ones; at most 0.05 in German,
# French, Spanish, Italian, Portuguese, Romanian, Polish, Swedish, Turkish, Indonesian, Vietnamese.
_ENGLISH_SHARE = 0.10
# Passages looked at to decide that: enough for a share stable to about 0.01.
LANGUAGE_SAMPLE = 1_000

# Raise it whenever a text gives other terms than before: stored indexes are then built again.
_ANALYSIS_VERSION = 1

_BIGRAM_SCRIPTS = (  # Han, Hiragana, Katakana with their iteration and length marks
    "\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_TRIGRAM_SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
_UNSPACED = re.compile(f"(?P<bigrams>[{_BIGRAM_SCRIPTS}]+)|(?P<trigrams>[{_TRIGRAM_SCRIPTS}]+)")
# Characters that may be combining marks: not those up to the first marks, nor Greek, basic
# Cyrillic, punctuation and currency signs. Without them Python's own class of words will do.
_PERHAPS_MARKS = re.compile("[^\0-\u02ff\u0370-\u0482\u2000-\u20cf]")
_UNMARKED_WORDS = re.compile(r"\w+")
# First letter after the Latin blocks (Basic Latin to Latin Extended-B).
_AFTER_LATIN = "\u0250"

# "_" counts as a letter in `\w`; soft hyphen, joiners and the byte order mark are invisible
# inside a word and would split it.
_REPLACED = {ord("_"): " ", 0x00AD: None, 0x200D: None, 0x2060: None, 0xFEFF: None}


class TextAnalyzer:
    """Cuts texts into BM25 terms.

    Args:
        english: Remove English stop words and endings from words.

    Raises:
        MissingExtraError: `english` is set and PyStemmer is not installed.

    Example:
        >>> TextAnalyzer(english=True).terms("The cats of New_York")
        ['cat', 'new', 'york']
        >>> TextAnalyzer(english=False).terms("BM25を使う")
        ['bm25', 'を使', '使う']
    """

    def __init__(self, *, english: bool) -> None:
        self.english = english
        self._stemmer = _english_stemmer() if english else None
        self._words = _word_pattern()

    def terms(self, text: str) -> list[str]:
        """Returns the terms of a text in reading order, repeated as often as they occur."""
        text = _normalised(text)
        found: list[str] = []
        start = 0
        for run in _UNSPACED.finditer(text):
            found += self._word_terms(text[start : run.start()])
            found += _ngrams(run.group(), size=2 if run.lastgroup == "bigrams" else 3)
            start = run.end()
        found += self._word_terms(text[start:])
        return found

    def _word_terms(self, text: str) -> list[str]:
        # The same words, ten times as fast, for nearly all text in European languages.
        pattern = self._words if _PERHAPS_MARKS.search(text) else _UNMARKED_WORDS
        words: list[str] = pattern.findall(text)
        if self._stemmer is None:
            return words
        return self._stemmer.stemWords([word for word in words if word not in ENGLISH_STOP_WORDS])


def analysis_version(*, english: bool) -> str:
    """Returns what the terms of a text depend on besides the text, for indexes that are kept.

    Raises:
        MissingExtraError: `english` is set and PyStemmer is not installed.
    """
    if not english:
        return f"{_ANALYSIS_VERSION} words"
    return f"{_ANALYSIS_VERSION} english, snowball {_stemmer_module().version()}"


def analyzer_for(passages: Sequence[str], language: Language = "auto") -> TextAnalyzer:
    """Returns the analyzer for a collection.

    Args:
        passages: The collection; only read when `language` is "auto".
        language: "english", "other" (words only, no stemmer), or "auto" to find out.

    Raises:
        InvalidOptionError: `language` is none of the three.
        MissingExtraError: The collection is English and PyStemmer is not installed.
    """
    check_language(language)
    if language == "auto":
        step = max(1, len(passages) // LANGUAGE_SAMPLE)
        return TextAnalyzer(english=looks_english(passages[::step]))
    return TextAnalyzer(english=language == "english")


def check_language(language: str) -> Language:
    """Returns the setting for the language of a collection if it is one.

    Raises:
        InvalidOptionError: `language` is none of those allowed.
    """
    if language not in LANGUAGES:
        raise InvalidOptionError(
            f"language must be one of {', '.join(map(repr, LANGUAGES))}; got {language!r}.",
            hint='Leave it at "auto" unless the collection is very small or mixed.',
        )
    return language


def looks_english(texts: Iterable[str]) -> bool:
    """Returns whether English stop words are as frequent in these texts as English makes them.

    Words in other scripts do not count, so a few Latin names in a Russian collection decide
    nothing by their number.
    """
    pattern = _word_pattern()
    num_latin = num_stop = 0
    for text in texts:
        for word in pattern.findall(_normalised(text)):
            if word[0] < _AFTER_LATIN and word[0].isalpha():
                num_latin += 1
                num_stop += word in ENGLISH_STOP_WORDS
    return num_stop > _ENGLISH_SHARE * num_latin


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().translate(_REPLACED)


def _ngrams(run: str, *, size: int) -> list[str]:
    """Returns the overlapping n-grams of a run; a run shorter than that is one term."""
    return [run[i : i + size] for i in range(max(1, len(run) - size + 1))]


@cache
def _word_pattern() -> re.Pattern[str]:
    """Returns the pattern of a word: letters, digits, combining marks.

    Python's own class of word characters leaves out the vowel signs of Indic scripts, which
    would cut Hindi words into consonants. All marks up to U+1FFFF are listed; the few above are
    variation selectors.
    """
    marks = [chr(c) for c in range(0x20000) if unicodedata.category(chr(c)).startswith("M")]
    return re.compile(f"[\\w{re.escape(''.join(marks))}]+")


class _Stemmer(Protocol):
    def stemWords(self, words: list[str], /) -> list[str]: ...


def _english_stemmer() -> _Stemmer:
    return cast("_Stemmer", _stemmer_module().Stemmer("english"))


def _stemmer_module() -> ModuleType:
    return import_extra("Stemmer", extra="search", purpose="stemming English text for BM25")

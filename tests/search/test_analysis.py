import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.search.analysis import TextAnalyzer, analyzer_for, looks_english

ENGLISH = "The first edition was published in 1876, and it is the work of a librarian."
GERMAN = "Die erste Ausgabe wurde im Jahr 1876 von einem Bibliothekar in Berlin herausgegeben."


def words(text):
    return TextAnalyzer(english=False).terms(text)


def test_english_words_lose_stop_words_and_endings():
    terms = TextAnalyzer(english=True).terms("The Cats are chasing a running mouse")
    assert terms == ["cat", "chase", "run", "mous"]


def test_other_languages_keep_every_word_as_it_stands():
    assert words("Die Katzen jagten in der Nacht") == [
        "die",
        "katzen",
        "jagten",
        "in",
        "der",
        "nacht",
    ]


def test_repeated_words_are_repeated_terms():
    assert words("go, go, go") == ["go", "go", "go"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read_csv(x)", ["read", "csv", "x"]),
        ("state-of-the-art", ["state", "of", "the", "art"]),
        ("e\u0301te\u0301 = été", ["été", "été"]),  # decomposed and composed
        ("\uff21\uff22\uff23 \ufb01ne", ["abc", "fine"]),  # full width, ligature
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("co\u00adoperate", ["cooperate"]),  # soft hyphen
        ("3,5 C14", ["3", "5", "c14"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs belong to the word
        ("كتاب، قلم", ["كتاب", "قلم"]),
        ("한국어 문장", ["한국어", "문장"]),
    ],
)
def test_words_of_spaced_scripts(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("黑豹队", ["黑豹", "豹队"]),
        ("猫", ["猫"]),  # too short for a bigram
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("黑豹。防守", ["黑豹", "防守"]),  # punctuation ends a run
        ("第33届NFL赛", ["第", "33", "届", "nfl", "赛"]),
        ("ประเทศ", ["ประ", "ระเ", "ะเท", "เทศ"]),
        ("ไทย NFL", ["ไทย", "nfl"]),
    ],
)
def test_ngrams_of_scripts_without_spaces(text, expected):
    assert words(text) == expected


def test_english_words_in_a_chinese_sentence_are_stemmed_when_the_collection_is_english():
    assert TextAnalyzer(english=True).terms("跑步 running") == ["跑步", "run"]


@pytest.mark.parametrize("text", ["", "   ", "!?…", "\u200d", "_"])
def test_text_without_words_has_no_terms(text):
    assert words(text) == []


@given(st.text())
def test_any_text_gives_nonempty_terms_without_white_space(text):
    for analyzer in (TextAnalyzer(english=False), TextAnalyzer(english=True)):
        for term in analyzer.terms(text):
            assert term
            assert not any(character.isspace() for character in term)


@given(st.text())
def test_upper_case_changes_nothing_in_ascii(text):
    text = text.encode("ascii", "ignore").decode()
    assert words(text.upper()) == words(text.lower())


def test_english_is_found_by_its_stop_words():
    assert looks_english([ENGLISH])
    assert not looks_english([GERMAN])
    assert not looks_english(["黑豹队的防守只丢了", "ทีมรับของแพนเธอร์ส", ""])
    assert not looks_english([])


def test_a_few_latin_names_do_not_make_a_russian_text_english():
    assert not looks_english(["Защита Пэнтерс уступила Denver Broncos в НФЛ Super Bowl."])


def test_the_language_option_overrides_detection():
    assert analyzer_for([ENGLISH]).english
    assert not analyzer_for([ENGLISH], "other").english
    assert analyzer_for([GERMAN], "english").english


def test_an_unknown_language_is_refused():
    with pytest.raises(
        InvalidOptionError, match="must be one of 'auto', 'english', 'other'; got 'de'"
    ):
        analyzer_for([GERMAN], "de")
